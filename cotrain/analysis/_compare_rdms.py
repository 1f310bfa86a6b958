"""How alike two RDMs are."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import kendalltau
from torch import Tensor

from cotrain.analysis._arrays import Given, like
from cotrain.analysis._plain_pairs import plain_pairs, unit_rows
from cotrain.analysis._tagged_rdm import Rdm, only_known, same_stimuli
from cotrain.analysis._unit_vectors import OF_MATRICES, OF_PAIRS, double_centred, unit_vectors
from cotrain.analysis._weighted_rdms import weighted_vectors
from cotrain.dissimilarity import pairs
from cotrain.errors import CotrainError, DataError, did_you_mean

Numbers = NDArray[np.float64]
BY_PAIRS = ("tau_a", "tau_b", "bures")  # of no space of unit vectors
COMPARISONS: tuple[str, ...] = tuple(sorted({*OF_PAIRS, *OF_MATRICES, *BY_PAIRS, "whitened_cosine"}))
OF_VECTORS = frozenset({*OF_PAIRS, "tau_a", "tau_b"})
RANKED = ("spearman", "rho_a", "tau_a", "tau_b")
# other names that people know them by; the second row is rsatoolbox's
OTHER_NAMES = {"linear_cka": "cka", "kendall": "tau_b", "kendall_tau": "tau_b", "whitened_cosine": "cka"} | {
    "corr": "pearson", "corr_cov": "whitened_pearson", "cosine_cov": "cka"
}  # fmt: skip
Missing = Literal["refuse", "omit"]


def comparison_name(method: str) -> str:
    """The name by which a comparison is computed.

    Raises:
        CotrainError: There is no such comparison.
    """
    name = method.lower().replace("-", "_").replace(" ", "_")
    name = OTHER_NAMES.get(name, name)
    if name not in COMPARISONS:
        raise CotrainError(
            f"There is no comparison of RDMs {method!r}; expected one of {', '.join(COMPARISONS)}."
            f"{did_you_mean(name, COMPARISONS)}"
        )
    return name


def compare_rdms(a: Given | Rdm, b: Given | Rdm, method: str = "pearson", *, missing: Missing = "refuse") -> Any:
    """How alike two RDMs are, over pairs of stimuli, each pair once and the diagonal never; larger is more alike.

    - "pearson", "spearman": correlation of the dissimilarities, or of their ranks, -1 to 1;
    - "cosine": of the dissimilarities, for those whose zero means something, -1 to 1. Of two RDMs of positive numbers
      it is near 1 whatever their geometry;
    - "tau_a": Kendall 1938 (Biometrika 30:81), the share of pairs of pairs that are in the same order less the share
      in the contrary order. Ties count as neither: it is right for models that predict ties, whom "tau_b" (Kendall
      1945, Biometrika 33:239) and "spearman" favour (Nili et al. 2014, PLoS Computational Biology 10:e1003553);
    - "rho_a": the mean of Spearman's correlation over all ways to break ties, far faster than "tau_a" and as right
      for ties (Schütt et al. 2023, eLife 12:e82566);
    - "cka" (also "whitened_cosine"): linear centred kernel alignment, 0 to 1 (Kornblith et al. 2019, ICML), of the
      centred kernels -1/2 H D H of the RDMs D. For squared distances it is the cosine after the RDMs' noise is made
      white, stimuli being noisy alike and independently (Diedrichsen et al. 2020, Neurons, Behavior, Data Analysis
      and Theory 5:3). Independent features of few stimuli have a high one;
    - "unbiased_cka": 0 on average where features are independent, -1 to 1 (`cotrain.dissimilarity.unbiased_cka`, and
      what the comparison "cka" of `cotrain.losses.rdm_loss` and the score `cka` of training are); 4 stimuli or more;
    - "whitened_pearson": the same as "whitened_cosine" with the mean over pairs taken away first;
    - "bures": the fidelity of the centred kernels divided by the root of the product of their traces, 0 to 1 (cosine
      of the angular Procrustes distance; Williams et al. 2021, NeurIPS). The kernels must be positive, as those of
      squared distances are; of others, eigenvalues below 0 count as 0.

    Plain numbers are taken for distances, which is checked by the zeros on the diagonal. Computed in float64.

    Args:
        a, b: (stimuli, stimuli), or several as (rdms, stimuli, stimuli); plain, or an `Rdm`. Two `Rdm` with ids are
            matched by them. Similarities of both kinds are compared as the distances that they mean.
        method: One of those above, or the name it has in rsatoolbox.
        missing: Pairs that are NaN in either: "refuse" them, or "omit" them from the comparison. "cka" and
            "whitened_pearson" then centre with what is known, "unbiased_cka" and "bures" cannot.

    Returns:
        A number, or with several RDMs on a side (rdms of a, rdms of b), without the axis of a single one. A tensor
        where both are tensors, with a gradient but for ranks. NaN where either says nothing: is constant, or for
        "cosine" and "bures" zero ("rho_a" and "tau_a" are then 0).

    Raises:
        CotrainError: There is no such method.
        DataError: One holds distances and one similarities, they are not among the same stimuli, or there are fewer
            than 3; a pair is NaN, or missing="omit" does not go with the method; or as `Rdm`.
    """
    name = comparison_name(method)
    if name in OF_VECTORS and (plain := plain_pairs(a, b)) is not None:
        return _squeezed(torch.from_numpy(_of_vectors(*plain, name)), a, b)
    first, second = same_stimuli(a, b)
    check_number(first.shape[-1], name)
    if missing == "omit" and bool(first.isnan().any() or second.isnan().any()):
        values = _without_missing(first, second, name)
    else:
        values = similarities(only_known(first, "The first matrix"), only_known(second, "The second matrix"), name)
    return _squeezed(values, a, b)


def similarities(first: Tensor, second: Tensor, name: str) -> Tensor:
    """(rdms of first, rdms of second) of float64 distances without NaN; `name` as `comparison_name` gives it."""
    first, second = (one if one.ndim == 3 else one[None] for one in (first, second))
    if name not in BY_PAIRS:
        return unit_vectors(first, name) @ unit_vectors(second, name).T
    if name == "bures":
        return _bures(first, second)
    return torch.from_numpy(kendall(_rows(first), _rows(second), name)).to(first.device)


def kendall(first: Numbers, second: Numbers, name: str) -> Numbers:
    """Kendall's tau-a or tau-b of each row of one with each of the other; of a constant one tau-b is NaN, tau-a 0."""
    found = np.empty((len(first), len(second)))
    for column, y in enumerate(second):
        # once for all where there are several: SciPy is faster with what is in order
        order = y.argsort(kind="stable") if len(first) > 1 else slice(None)
        ordered = y[order]
        found[:, column] = [kendalltau(x[order], ordered).statistic for x in first]
    if name == "tau_b":
        return found
    # of the same concordant less discordant pairs, tau-b takes the share of those that are tied in neither
    untied = [np.array([_untied(row) for row in rows]) for rows in (first, second)]
    share = untied[0][:, None] * untied[1]
    return np.where(share > 0, found * np.sqrt(share), 0.0)


def check_number(stimuli: int, name: str) -> None:
    """Refuse too few stimuli.

    Raises:
        DataError: There are fewer than 3, or for "unbiased_cka" 4.
    """
    fewest = 4 if name == "unbiased_cka" else 3
    if stimuli < fewest:
        raise DataError(f"{name!r} of RDMs needs {fewest} stimuli or more, found {stimuli}.")


def _rows(rdms: Tensor) -> Numbers:
    return np.asarray(pairs(rdms).detach().cpu().numpy())


def _of_vectors(first: Numbers, second: Numbers, name: str) -> Numbers:
    if name in OF_PAIRS:
        return unit_rows(first, name) @ unit_rows(second, name).T
    return kendall(first, second, name)


def _squeezed(values: Tensor, a: Given | Rdm, b: Given | Rdm) -> Any:
    """Of the kind that was given, without the axis of a single RDM."""
    first, second = (one.values if isinstance(one, Rdm) else one for one in (a, b))
    values = values.squeeze(0) if np.ndim(first) == 2 else values
    values = values.squeeze(-1) if np.ndim(second) == 2 else values
    return like(values, first, second)


def _untied(values: Numbers) -> float:
    """Share of pairs of values that differ."""
    ordered = np.sort(values)
    if (ordered[1:] != ordered[:-1]).all():
        return 1.0
    counts = np.unique(ordered, return_counts=True)[1].astype(np.float64)
    total = len(values) * (len(values) - 1)
    return float(1 - (counts * (counts - 1)).sum() / total) if len(counts) > 1 else 0.0


def _bures(first: Tensor, second: Tensor) -> Tensor:
    """Nuclear norm of root(K) root(L), over root(tr K tr L), K and L being the positive parts of the kernels."""
    a, b = (_root(one) for one in (first, second))
    fidelity = torch.stack([torch.linalg.matrix_norm(x @ b, "nuc") for x in a])
    traces = [one.square().sum((-2, -1)) for one in (a, b)]
    product = (traces[0][:, None] * traces[1]).sqrt()
    return torch.where(product > 0, fidelity / product.clamp_min(torch.finfo(product.dtype).tiny), torch.nan)


def _root(rdms: Tensor) -> Tensor:
    kernel = double_centred(rdms).unflatten(-1, rdms.shape[-2:])
    value, vector = torch.linalg.eigh(kernel)
    root: Tensor = (vector * value.clamp_min(0).sqrt()[..., None, :]) @ vector.transpose(-2, -1)
    return root


def _without_missing(first: Tensor, second: Tensor, name: str) -> Tensor:
    a, b = (one if one.ndim == 3 else one[None] for one in (first, second))
    return torch.stack([torch.stack([_known_pairs(x, y, name) for y in b]) for x in a])


def _known_pairs(x: Tensor, y: Tensor, name: str) -> Tensor:
    known = ~(x.isnan() | y.isnan())
    if name in ("unbiased_cka", "bures"):
        raise DataError(f"{name!r} needs all pairs, some are NaN. Leave stimuli out, or use 'cka' or 'pearson'.")
    chosen = ~(pairs(x) + pairs(y)).isnan()
    if int(chosen.sum()) < 3:
        raise DataError(f"Only {int(chosen.sum())} pairs are known in both RDMs; 3 are needed.")
    if name in OF_MATRICES:
        weights = known.fill_diagonal_(False).to(x.dtype)[None]
        ones = torch.ones(1, len(x), dtype=x.dtype, device=x.device)
        a, b = (weighted_vectors(one.nan_to_num()[None], weights, ones, name)[0, 0] for one in (x, y))
        return a @ b
    a, b = pairs(x)[chosen], pairs(y)[chosen]
    if name in OF_PAIRS:
        return OF_PAIRS[name](a) @ OF_PAIRS[name](b)
    tau = kendall(a.detach().cpu().numpy()[None], b.detach().cpu().numpy()[None], name)
    return torch.from_numpy(tau)[0, 0].to(x)
