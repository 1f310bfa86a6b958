"""Mean-field capacity is that of closed forms and of published code, whatever the unit, origin and rotation."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.stats import norm

from cotrain.errors import ModelError
from cotrain.manifolds import cone_projection, inverse_capacity, inverse_capacity_of_points, split_by_class

FEW = settings(max_examples=25, deadline=None)
SEEDS = st.integers(0, 10_000)
MANY = 5000  # draws that leave an error of two percent


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def clouds(seed=0, count=4, neurons=12, spread=0.5):
    """Ragged manifolds about random centres, some with more points than neurons."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 2 * neurons, count)
    return [normal(neurons, seed=seed + n) + spread * normal(m, neurons, seed=100 + n) for n, m in enumerate(sizes)]


def fixed(manifolds, draws=20):
    return [normal(draws, points.shape[1] + 1, seed=n) for n, points in enumerate(manifolds)]


def opposite(shape):
    """A manifold of this shape around (1, 0, ...), and its mirror image: the centres' mean is the origin."""
    return [shape, -shape]


# ---- the projection


def frames(kind, seed, points, coordinates):
    rng = np.random.default_rng(seed)
    values = torch.from_numpy(rng.normal(size=(points, coordinates)))
    if kind == "copies":
        values = values[rng.integers(0, max(1, points // 2), points)]
    elif kind == "few values":
        values = (values > 0.5).double()
    elif kind == "low rank":
        values = values[:, :2] @ torch.from_numpy(rng.normal(size=(2, coordinates)))[: values.shape[1]]
    elif kind == "large":
        values = 1e6 * values
    return torch.cat([values, torch.ones(points, 1, dtype=torch.float64)], 1)


@pytest.mark.parametrize("kind", ["usual", "copies", "few values", "low rank", "large"])
@FEW
@given(seed=SEEDS, points=st.integers(1, 40), coordinates=st.integers(2, 20))
def test_the_projection_fulfils_the_conditions_of_karush_kuhn_and_tucker(kind, seed, points, coordinates):
    frame, directions = frames(kind, seed, points, coordinates), normal(12, coordinates + 1, seed=seed)
    coefficients = cone_projection(frame, directions)
    nearest = coefficients @ frame
    rest = directions - nearest
    unit = frame / frame.norm(dim=1, keepdim=True)
    assert coefficients.min() >= 0
    assert (nearest * rest).sum(1).abs().max() < 1e-6, "what is left is at right angles to the projection"
    assert (rest @ unit.T).max() < 1e-6, "and makes no acute angle with any point"


def test_the_projection_is_what_a_general_solver_finds():
    frame, directions = frames("usual", 1, 6, 4), normal(8, 5, seed=3)
    found = cone_projection(frame, directions) @ frame
    for direction, nearest in zip(directions, found, strict=True):
        general = minimize(
            lambda a, b=direction: ((a @ frame.numpy() - b.numpy()) ** 2).sum(),
            np.ones(6),
            bounds=[(0, None)] * 6,
            tol=1e-14,
        )
        np.testing.assert_allclose(general.x @ frame.numpy(), nearest, atol=1e-5)


# ---- closed forms


@pytest.mark.parametrize(
    ("kappa", "alpha"), [(0.0, 2), (0.1, 1.709632), (0.5, 0.961205), (2.0, 0.200231), (-0.5, 4.770099)]
)
def test_points_have_the_capacity_of_gardner(kappa, alpha):
    integral = quad(lambda t: (t + kappa) ** 2 * norm.pdf(t), -kappa, np.inf)[0]
    assert inverse_capacity_of_points(kappa) == pytest.approx(integral, rel=1e-10)
    assert 1 / integral == pytest.approx(alpha, rel=1e-5)
    points = [normal(1, 5, seed=n) for n in range(3)]
    found = inverse_capacity(points, draws=MANY, kappa=kappa, generator=seeded())
    np.testing.assert_allclose(found, integral, rtol=0.07)
    given = fixed(points, 50)
    copies = inverse_capacity([p.expand(7, -1) for p in points], directions=given, kappa=kappa)
    torch.testing.assert_close(copies, inverse_capacity(points, directions=given, kappa=kappa))


@pytest.mark.parametrize("radius", [0.1, 0.5, 1.0, 2.0])
def test_segments(radius):
    ends = torch.tensor([[1.0, radius, 0], [1.0, -radius, 0]], dtype=torch.float64)
    found = inverse_capacity(opposite(ends), draws=MANY, generator=seeded())
    np.testing.assert_allclose(found, 0.5 + 2 / math.pi * math.atan(radius), rtol=0.07)


@pytest.mark.parametrize(("radius", "kappa", "alpha"), [(0.5, 0.0, 0.949860), (1.0, 0.0, 2 / 3), (0.5, 0.5, 0.5375352)])
def test_discs(radius, kappa, alpha):
    angles = torch.linspace(0, 2 * math.pi, 101, dtype=torch.float64)[:-1]
    disc = torch.stack([torch.ones(100, dtype=torch.float64), radius * angles.cos(), radius * angles.sin()], 1)
    found = inverse_capacity(opposite(disc), draws=4000, kappa=kappa, generator=seeded())
    np.testing.assert_allclose(1 / found, alpha, rtol=0.07)


@pytest.mark.parametrize("points", [5, 20])
def test_points_at_right_angles_are_at_the_floor(points):
    """Their cone is an orthant."""
    found = inverse_capacity(opposite(torch.eye(points, dtype=torch.float64)), draws=4000, generator=seeded())
    np.testing.assert_allclose(1 / found, 2 / points, rtol=0.07)


# ---- published code


@pytest.mark.parametrize("name", ["A_small", "C_corr", "D_margin"])
def test_given_directions_and_subspace_the_capacity_is_that_of_the_published_code(name):
    folder = Path(os.environ.get("COTRAIN_TEST_DATA", "/nowhere")) / ".." / "oracles" / "manifolds"
    if not (folder / "oracle.json").is_file():
        pytest.skip("the folder oracles/manifolds beside COTRAIN_TEST_DATA holds no results of the published code")
    held = json.loads((folder / "oracle.json").read_text())[name]
    images, removed, t = (np.load(folder / f"{name}_{part}.npy") for part in ("X", "V", "t"))
    known = [cloud[:, np.isfinite(cloud).all(0)] for cloud in np.moveaxis(images, 2, 0)]
    left = [cloud - removed @ (removed.T @ cloud) for cloud in known]
    middle = np.concatenate(left, 1).mean(1, keepdims=True)  # a mean over points, which ragged manifolds tell from ours
    kappa, alphas, manifolds, directions = held["settings"]["kappa"], [], [], []
    for cloud, draws in zip(left, t, strict=True):
        centre = cloud.mean(1, keepdims=True)
        scaled = (cloud - centre) / np.linalg.norm(centre - middle)
        basis, _ = np.linalg.qr(scaled)
        draws = draws[np.isfinite(draws).all(1)][: basis.shape[1] + 1]
        given = torch.from_numpy(np.vstack([basis @ draws[:-1], draws[-1:]]).T.copy())
        frame = torch.from_numpy(np.vstack([scaled, np.ones(cloud.shape[1])]).T.copy())
        shifted = given + kappa * torch.eye(len(basis) + 1, dtype=torch.float64)[-1]
        alphas.append(1 / (cone_projection(frame, shifted) @ frame).square().sum(1).mean().item())
        manifolds.append(torch.from_numpy(cloud.T.copy()))
        directions.append(given)
    np.testing.assert_allclose(alphas, held["alpha_M"], rtol=1e-6)
    if len({len(points) for points in manifolds}) == 1:
        ours = 1 / inverse_capacity(manifolds, kappa=kappa, directions=directions)
        np.testing.assert_allclose(ours, held["alpha_M"], rtol=1e-6)


# ---- invariances


@FEW
@given(seed=SEEDS, scale=st.sampled_from([1e-6, 1.0, 1e6]), kappa=st.sampled_from([0.0, 0.4]))
def test_unit_origin_and_rotation_change_nothing(seed, scale, kappa):
    manifolds = clouds(seed)
    rotation, _ = torch.linalg.qr(normal(12, 12, seed=seed))
    full = torch.eye(13, dtype=torch.float64)
    full[:12, :12] = rotation
    given = fixed(manifolds)
    expected = inverse_capacity(manifolds, directions=given, kappa=kappa)
    moved = [scale * (points @ rotation + normal(12, seed=9)) for points in manifolds]
    found = inverse_capacity(moved, directions=[b @ full for b in given], kappa=kappa)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


def test_directions_of_one_seed_turn_with_the_space_and_need_no_more_than_the_span():
    manifolds = [normal(30, seed=n) + 0.5 * normal(6, 30, seed=9 + n) for n in range(3)]
    rotation, _ = torch.linalg.qr(normal(30, 30, seed=5))
    expected = inverse_capacity(manifolds, generator=seeded())
    found = inverse_capacity([points @ rotation for points in manifolds], generator=seeded())
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
    wide = [torch.cat([points, torch.zeros(6, 500, dtype=torch.float64)], 1) for points in manifolds]
    torch.testing.assert_close(inverse_capacity(wide, generator=seeded()), expected, rtol=1e-9, atol=1e-10)


def test_drawn_directions_give_the_mean_over_given_ones():
    manifolds = clouds(seed=2)
    found = inverse_capacity(manifolds, draws=MANY, generator=seeded())
    given = inverse_capacity(manifolds, directions=fixed(manifolds, MANY))
    np.testing.assert_allclose(found, given, rtol=0.07)


@FEW
@given(seed=SEEDS)
def test_capacity_lies_between_points_and_the_bound_and_more_points_of_a_frame_lower_it(seed):
    manifolds = clouds(seed, spread=1.0)
    found = inverse_capacity(manifolds, directions=fixed(manifolds, 50))
    assert (found >= 0).all()
    frame = frames("usual", seed, 9, 5)
    squares = [(cone_projection(frame[:n], normal(30, 6)) @ frame[:n]).square().sum(1) for n in (4, 9)]
    assert (squares[1] >= squares[0] - 1e-9).all()


# ---- gradients


@pytest.mark.parametrize("kappa", [0.0, 0.4])
@pytest.mark.parametrize("sizes", [(3, 5, 4), (1, 6, 2), (9, 12, 10)])
def test_the_gradient_is_that_of_finite_differences(sizes, kappa):
    manifolds = [(normal(5, seed=n) + 0.6 * normal(m, 5, seed=9 + n)).requires_grad_() for n, m in enumerate(sizes)]
    given = fixed(manifolds, 15)
    assert torch.autograd.gradcheck(
        lambda *points: inverse_capacity(points, directions=given, kappa=kappa), manifolds, atol=1e-6, rtol=1e-6
    )


def test_the_gradient_from_drawn_directions_is_on_average_that_of_given_ones():
    manifolds = [(normal(8, seed=n) + 0.6 * normal(4, 8, seed=9 + n)).requires_grad_() for n in range(3)]
    drawn = inverse_capacity(manifolds, draws=MANY, generator=seeded()).sum()
    given = inverse_capacity(manifolds, directions=fixed(manifolds, MANY)).sum()
    pairs = zip(torch.autograd.grad(drawn, manifolds), torch.autograd.grad(given, manifolds), strict=True)
    assert max((a - b).abs().max().item() for a, b in pairs) < 0.04


# ---- what has no direction


def test_manifolds_at_the_mean_of_all_are_at_the_bound_with_gradient_0():
    cloud = normal(6, 10)
    cloud = (cloud - cloud.mean(0)).requires_grad_()
    around = normal(4, 10) + 3
    found = inverse_capacity([cloud, around, -around.flip(0)], generator=seeded())
    assert found[0].item() == 5.5 and found.isfinite().all()
    found.sum().backward()
    assert cloud.grad.isfinite().all()


@pytest.mark.parametrize("level", [0.0, 1.0, 0.1, 1e8])
def test_when_all_is_alike_capacity_is_worst(level):
    """Or the surest way to low losses would be to give up all differences."""
    manifolds = [torch.full((m, 20), level, dtype=torch.float32, requires_grad=True) for m in (4, 7, 3)]
    found = inverse_capacity(manifolds, kappa=0.5)
    expected = [m - 1 + inverse_capacity_of_points(0.5) for m in (4, 7, 3)]
    assert found.tolist() == pytest.approx(expected)
    found.sum().backward()
    assert all((points.grad == 0).all() for points in manifolds)


@pytest.mark.parametrize(("points", "neurons"), [(6, 10), (20, 100), (30, 8)])
def test_the_bound_is_the_limit_of_ever_shorter_centres(points, neurons):
    shape, way = normal(points, neurons), normal(neurons, seed=3)
    shape, bound = shape - shape.mean(0), min(points - 1, neurons) + 0.5
    values = []
    for length in (1.0, 1e-2, 1e-4, 1e-5, 1e-7, 1e-12, 0.0):
        cloud = (shape + length * way).requires_grad_()
        values.append(inverse_capacity([cloud, -shape - length * way], draws=1000, generator=seeded())[0])
        values[-1].backward()
        assert cloud.grad.norm() * shape.norm() < 100 * bound, "even where a centre has almost no direction"
    assert [value.item() for value in values[4:]] == [bound] * 3
    assert values[3].item() == pytest.approx(bound, rel=0.03)
    assert values[0] < values[1] < values[2] < values[3]


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_manifold_that_is_not_finite_is_at_the_bound_and_spoils_no_other(wrong):
    manifolds = clouds()
    broken = manifolds[0].new_full((3, 12), wrong)
    found = inverse_capacity([broken, *manifolds], generator=seeded())
    assert found[0].item() == 2.5
    assert inverse_capacity([broken, broken]).tolist() == [2.5, 2.5]
    others = inverse_capacity(manifolds, directions=fixed(manifolds))
    given = [*fixed([broken]), *fixed(manifolds)]
    torch.testing.assert_close(inverse_capacity([broken, *manifolds], directions=given)[1:], others)


# ---- the rest


def test_results_are_float64_and_of_the_generator_alone():
    manifolds = [points.float() for points in clouds()]
    state = torch.get_rng_state()
    first, second = (inverse_capacity(manifolds, draws=10, generator=seeded(4)) for _ in range(2))
    assert first.dtype == torch.float64 and torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(inverse_capacity(manifolds, draws=10, generator=seeded(4)), first)
    inverse_capacity(manifolds, draws=10)
    assert not torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("sizes", [(), (3,), (3, 0)])
def test_fewer_than_two_manifolds_are_refused(sizes):
    text = r"Capacity needs two manifolds or more, each with a point or more; found manifolds of \[.*\] points"
    with pytest.raises(ModelError, match=text):
        inverse_capacity([torch.ones(size, 4) for size in sizes])


def test_classes_come_in_the_order_of_labels_and_large_ones_are_thinned_by_the_seed():
    labels = torch.tensor([5, 1, 5, 5, 3, 5, 5])
    features = torch.arange(14.0).view(7, 2)
    found = split_by_class(features, labels)
    assert [cloud[:, 0].tolist() for cloud in found] == [[2], [8], [0, 4, 6, 10, 12]]
    first, again, other = (split_by_class(features, labels, at_most=3, seed=seed)[2] for seed in (0, 0, 2))
    assert len(first) == 3 and torch.equal(first, again) and not torch.equal(first, other)
    assert first[:, 0].tolist() == sorted(first[:, 0].tolist())
