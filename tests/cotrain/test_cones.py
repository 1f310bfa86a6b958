"""Each solver finds the nearest point of the cone, and what is not is noticed."""

import importlib.util

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear

from cotrain import cones
from cotrain._block_pivoting import block_pivoting
from cotrain._lawson_hanson import lawson_hanson
from cotrain.cones import SOLVERS, cone_coefficients
from cotrain.errors import CotrainError

FEW = settings(max_examples=15, deadline=None)
SEEDS = st.integers(0, 10_000)
HAS_NUMBA = importlib.util.find_spec("numba") is not None


def problem(kind, seed, points, coordinates, draws=6):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(points, coordinates))
    if kind == "copies":
        rows = rows[rng.integers(0, max(1, points // 2), points)]
    elif kind == "few values":
        rows = (rows > 0.5).astype(float)
    elif kind == "low rank":
        rows = rows[:, :1] * rng.normal(size=coordinates)
    elif kind == "scales":
        rows = rows * 10.0 ** rng.integers(-6, 7, (points, 1))
    return np.c_[rows, np.ones(points)], rng.normal(size=(draws, coordinates + 1))


def assert_optimal(rows, directions, coefficients):
    nearest = coefficients @ rows
    left = directions - nearest
    unit = rows / np.linalg.norm(rows, axis=1)[:, None]
    assert coefficients.min() >= 0
    assert np.abs((nearest * left).sum(1)).max() < 1e-7
    assert (left @ unit.T).max() < 1e-7


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", ["usual", "copies", "few values", "low rank", "scales"])
@FEW
@given(seed=SEEDS, points=st.integers(1, 25), coordinates=st.integers(1, 15))
def test_solutions_fulfil_the_conditions_of_an_optimum(solver, kind, seed, points, coordinates):
    if solver == "numba" and not HAS_NUMBA:
        pytest.skip("numba is not installed: pip install cotrain[numba]")
    rows, directions = problem(kind, seed, points, coordinates)
    assert_optimal(rows, directions, cone_coefficients(rows, directions, solver=solver))


@pytest.mark.parametrize("solve", [lawson_hanson, block_pivoting])
@pytest.mark.parametrize(("points", "coordinates"), [(8, 12), (12, 5), (1, 1)])
def test_solvers_of_gram_matrices_find_what_another_method_finds(solve, points, coordinates):
    """By themselves, without what `cone_coefficients` mends; the first is plain Python where there is no numba."""
    rows, directions = problem("usual", 3, points, coordinates)
    rows /= np.linalg.norm(rows, axis=1)[:, None]
    found = solve(rows @ rows.T, directions @ rows.T)
    for direction, coefficients in zip(directions, found, strict=True):
        general = lsq_linear(rows.T, direction, bounds=(0, np.inf), method="bvls", tol=1e-14)
        np.testing.assert_allclose(coefficients @ rows, general.x @ rows, atol=1e-7)


@pytest.mark.parametrize("kind", ["usual", "copies", "few values", "scales"])
@pytest.mark.parametrize(("points", "coordinates"), [(800, 40), (600, 3), (502, 249)])
def test_many_rows_have_the_solution_of_all_at_once(kind, points, coordinates):
    rows, directions = problem(kind, 7, points, coordinates, draws=4)
    found = cone_coefficients(rows, directions)
    assert_optimal(rows, directions, found)
    unit = (rows / np.linalg.norm(rows, axis=1)[:, None]).T
    for direction, coefficients in zip(directions, found, strict=True):
        whole = cones._of_all(unit, direction)
        np.testing.assert_allclose(coefficients @ rows, unit @ whole, atol=1e-7)


def test_what_a_solver_gets_wrong_is_solved_again(monkeypatch):
    rows, directions = problem("usual", 5, 10, 6, draws=20)
    expected = cone_coefficients(rows, directions) @ rows
    for wrong in (lambda g, c: np.zeros_like(c), lambda g, c: np.maximum(c, 0), lambda g, c: -np.ones_like(c)):
        monkeypatch.setattr(cones, "_of_gram", lambda solver, wrong=wrong: wrong)
        np.testing.assert_allclose(cone_coefficients(rows, directions, solver="torch") @ rows, expected, atol=1e-9)


def test_a_solver_that_is_not_there_is_named(monkeypatch):
    rows, directions = problem("usual", 0, 3, 2)
    with pytest.raises(CotrainError, match=r"There is no solver 'scipi' of cones\. Did you mean 'scipy'\?"):
        cone_coefficients(rows, directions, solver="scipi")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CotrainError, match=r"'numba' needs the package numba, .* pip install cotrain\[numba\]"):
        cone_coefficients(rows, directions, solver="numba")
