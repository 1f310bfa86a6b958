"""Whether models' similarities differ from nothing, from the noise ceiling, and from each other."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from cotrain.analysis._arrays import Given
from cotrain.analysis._compare_rdms import BY_PAIRS, comparison_name, similarities
from cotrain.analysis._rsa_bootstrap import RsaBootstrap
from cotrain.analysis._tagged_rdm import Rdm, only_known, same_stimuli
from cotrain.analysis._unit_vectors import OF_MATRICES, unit_vectors
from cotrain.errors import CotrainError, DataError, did_you_mean
from cotrain.seeds import derive_seed

if TYPE_CHECKING:
    import pandas as pd

Correction = Literal["holm", "bonferroni", "benjamini_hochberg", "none"]


class PermutationTest(NamedTuple):
    """Whether two RDMs are more alike than with stimuli exchanged."""

    similarity: float
    p: float
    permutations: int


def rsa_tests(bootstrap: RsaBootstrap, *, correction: Correction = "holm") -> pd.DataFrame:
    """Student's tests on bootstrap variances (Schütt et al. 2023, eLife 12:e82566), corrected in three families.

    - "zero": is a model's similarity above 0? One-sided;
    - "ceiling": does it differ from the lower bound of the noise ceiling? Two-sided; with 2 subjects or more;
    - "models": do two models differ? Two-sided, each pair once.

    Args:
        bootstrap: What `rsa_bootstrap` gives; what was drawn there is what the tests generalise to.
        correction: For as many tests as the family has: "holm" and "bonferroni" bound the probability of any false
            positive (Holm 1979, Scandinavian Journal of Statistics 6:65), "benjamini_hochberg" their expected share
            (Benjamini & Hochberg 1995, Journal of the Royal Statistical Society B 57:289), "none" neither.

    Returns:
        One row a test: test, model, other ("0", "ceiling" or a model), difference, standard_error, t,
        degrees_of_freedom, p, p_corrected, correction, tests (of the family).

    Raises:
        CotrainError: There is no such correction.
    """
    import pandas as pd
    from scipy.stats import t as student

    if correction not in get_args(Correction):
        raise CotrainError(
            f"There is no correction {correction!r}.{did_you_mean(correction, list(get_args(Correction)))}"
        )
    number, free = len(bootstrap.models), bootstrap.degrees_of_freedom
    found = np.append(bootstrap.similarity, bootstrap.ceiling)
    one = np.eye(number + 2)
    planned = {"zero": [(model, "0", one[row]) for row, model in enumerate(bootstrap.models)]}
    if np.isfinite(bootstrap.ceiling[0]):
        planned["ceiling"] = [(m, "ceiling", one[row] - one[number]) for row, m in enumerate(bootstrap.models)]
    planned["models"] = [
        (bootstrap.models[a], bootstrap.models[b], one[a] - one[b]) for a, b in combinations(range(number), 2)
    ]
    frames = []
    for family, tests in planned.items():
        contrasts = np.array([contrast for *_, contrast in tests]).reshape(-1, number + 2)
        difference = contrasts @ np.nan_to_num(found)
        error = np.sqrt([bootstrap.variance(contrast) for contrast in contrasts])
        t = _ratio(difference, error)
        p = student.sf(t, free) if family == "zero" else 2 * student.sf(np.abs(t), free)
        frame: dict[str, Any] = {"test": family, "model": [model for model, *_ in tests]}
        frame["other"] = [other for _, other, _ in tests]
        frame |= {"difference": difference, "standard_error": error, "t": t, "degrees_of_freedom": free, "p": p}
        frame |= {"p_corrected": corrected(p, correction), "correction": correction, "tests": len(tests)}
        frames.append(pd.DataFrame(frame))
    return pd.concat([frame for frame in frames if len(frame)], ignore_index=True)


def corrected(p: NDArray[np.float64], correction: Correction) -> NDArray[np.float64]:
    """p values that are corrected for being as many as they are; NaN stays, and counts as a test."""
    if correction == "none" or not len(p):
        return p
    known = np.where(np.isnan(p), 1.0, p)
    if correction == "benjamini_hochberg":
        from scipy.stats import false_discovery_control

        found = false_discovery_control(known)
    elif correction == "bonferroni":
        found = np.minimum(1, known * len(p))
    else:
        order = np.argsort(known, kind="stable")
        stepped = np.maximum.accumulate(known[order] * np.arange(len(p), 0, -1))
        found = np.empty(len(p))
        found[order] = np.minimum(1, stepped)
    return np.where(np.isnan(p), np.nan, found)


def permutation_test(
    a: Given | Rdm, b: Given | Rdm, method: str = "pearson", *, permutations: int = 9999, seed: int = 0
) -> PermutationTest:
    """Are two RDMs more alike than when the stimuli of one are exchanged at random?

    Mantel 1967 (Cancer Research 27:209). For two RDMs alone, where there are no subjects to draw. One-sided; rows and
    columns are exchanged together. p is (1 + as many as are at least as alike) / (1 + permutations), never 0.

    Args:
        a, b: (stimuli, stimuli) each, as for `compare_rdms`.
        method: One of those of `compare_rdms`.
        permutations: How many; p cannot be smaller than 1 / (1 + permutations).
        seed: Of the permutations.

    Raises:
        CotrainError: There is no such method, or no permutation.
        DataError: Several RDMs on a side; or as `compare_rdms`.
    """
    name = comparison_name(method)
    if permutations < 1:
        raise CotrainError(f"A permutation test needs a permutation or more, found {permutations}; 9999 are usual.")
    first, second = same_stimuli(a, b)
    if first.ndim != 2 or second.ndim != 2:
        raise DataError("A permutation test is of two RDMs, (stimuli, stimuli) each; found several.")
    first, second = only_known(first, "The first matrix"), only_known(second, "The second matrix")
    generator = np.random.default_rng(derive_seed(seed, "order", "rsa_permutation"))
    orders = (torch.from_numpy(generator.permutation(len(first))).to(first.device) for _ in range(permutations))
    observed = similarities(first, second, name).item()
    if name in BY_PAIRS:
        drawn = [similarities(first, second[order][:, order], name).item() for order in orders]
    else:  # exchanging stimuli exchanges the entries of the unit vector
        x, y = (_as_matrix(unit_vectors(one, name), len(one), name) for one in (first, second))
        flat = x.flatten()
        drawn = [(flat @ y[order][:, order].flatten()).item() for order in orders]
    higher = int((np.array(drawn) >= observed - 1e-12 * abs(observed)).sum())
    p = (1 + higher) / (1 + permutations) if np.isfinite(observed) else np.nan
    return PermutationTest(observed, p, permutations)


def _as_matrix(vector: torch.Tensor, stimuli: int, name: str) -> torch.Tensor:
    """Whose sum of products with another is the inner product of the vectors."""
    if name in OF_MATRICES and vector.shape[-1] == stimuli**2:
        return vector.reshape(stimuli, stimuli)
    row, column = torch.triu_indices(stimuli, stimuli, offset=1, device=vector.device)
    matrix = vector.new_zeros(stimuli, stimuli)
    matrix[row, column] = matrix[column, row] = vector / 2**0.5
    return matrix


def _ratio(difference: NDArray[np.float64], error: NDArray[np.float64]) -> NDArray[np.float64]:
    """NaN where there is no error to compare with."""
    known = error > 0
    return np.where(known, difference / np.where(known, error, 1), np.nan)
