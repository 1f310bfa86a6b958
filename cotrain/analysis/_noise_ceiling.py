"""How well the best model could do: the noise ceiling of several subjects."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from cotrain.analysis._arrays import Given, like
from cotrain.analysis._compare_rdms import BY_PAIRS, RANKED, check_number, comparison_name, kendall
from cotrain.analysis._tagged_rdm import Rdm, as_distances, only_known
from cotrain.analysis._unit_vectors import ranks, unit_vectors
from cotrain.analysis._weighted_rdms import pair_vectors, weighted_ranks
from cotrain.dissimilarity import pairs
from cotrain.errors import CotrainError, DataError


class Ceiling(NamedTuple):
    """Bounds of the mean similarity to subjects that the true model has."""

    lower: Any
    upper: Any


def noise_ceiling(rdms: Given | Rdm, method: str = "pearson") -> Ceiling:
    """Bounds of the mean similarity to the subjects that the best possible model can have (Nili et al. 2014, PLoS
    Computational Biology 10:e1003553).

    Upper: the mean similarity of the subjects to the RDM that pools all of them, which no RDM exceeds; it is overfit to
    them. Lower: to the RDM that pools all others, which is noisier than the truth. Subjects are pooled so that they
    count alike: as the mean of the vectors whose inner products the comparison takes, and for ranks and Kendall's tau
    as the mean of ranks. For "spearman", "rho_a", "tau_a" and "tau_b" the upper bound may so be exceeded a little.
    Noise raises distances that are not crossvalidated, of all subjects alike; "cosine" and "cka" count this as
    geometry, and even the true model may then lie below the lower bound.

    Args:
        rdms: (subjects, stimuli, stimuli), distances or an `Rdm`.
        method: One of those of `compare_rdms`, but not "bures".

    Returns:
        (lower, upper), both tensors if the RDMs are one. NaN where a subject's RDM says nothing.

    Raises:
        CotrainError: There is no such method, or no ceiling for it.
        DataError: There are fewer than 2 subjects, or 3 stimuli; a pair is NaN; or as `Rdm`.
    """
    name = comparison_name(method)
    if name == "bures":
        raise CotrainError("There is no noise ceiling by 'bures'. Use 'cka', which compares the same kernels.")
    held = only_known(as_distances(rdms, "The subjects' RDMs"), "The subjects' RDMs")
    if held.ndim != 3 or len(held) < 2:
        found = len(held) if held.ndim == 3 else 1
        raise DataError(f"A noise ceiling needs (subjects, stimuli, stimuli), 2 subjects or more; found {found}.")
    check_number(held.shape[-1], name)
    counts = torch.ones(1, len(held), dtype=held.dtype, device=held.device)
    if name in BY_PAIRS:
        bounds = _of_kendall(pairs(held), name)
    elif name in RANKED:
        values = pairs(held)[None]
        bounds = ranked_ceilings(values, torch.ones_like(values[:, :1]), counts, name)[0]
    else:
        bounds = ceilings(unit_vectors(held, name)[None], counts)[0]
    return Ceiling(*(like(bound, rdms.values if isinstance(rdms, Rdm) else rdms) for bound in bounds))


def ceilings(
    vectors: Float[Tensor, "samples subjects values"], counts: Float[Tensor, "samples subjects"]
) -> Float[Tensor, "samples 2"]:
    """Lower and upper bound in each sample; without a second subject in it, the lower one is NaN.

    Args:
        vectors: Of length 1.
        counts: How often each subject is in the sample; copies are left out together.
    """
    inner = vectors @ vectors.transpose(1, 2)
    toward = (inner @ counts[..., None])[..., 0]  # of each subject with the sum of all
    square = (counts * toward).sum(1, keepdim=True)
    own = inner.diagonal(dim1=1, dim2=2)
    total = counts.sum(1)
    upper = square[:, 0].clamp_min(0).sqrt() / total
    others = square - 2 * counts * toward + counts**2 * own
    several = ((counts > 0).sum(1, keepdim=True) - (counts > 0).long()) > 0
    left = torch.where(several, (toward - counts * own) / others.clamp_min(0).sqrt(), torch.nan)
    lower = torch.where(counts > 0, counts * left, 0).sum(1) / total
    return torch.stack([lower, upper], 1)


def ranked_ceilings(values: Tensor, weights: Tensor, counts: Tensor, name: str) -> Tensor:
    """The same for "spearman" and "rho_a", of pairs: (1, subjects, pairs) and weights (samples or 1, 1, pairs)."""
    subjects = values.shape[1]
    held = weighted_ranks(values, weights)
    vectors = pair_vectors(values, weights, name)
    added = counts[..., None] * held
    total = added.sum(1, keepdim=True)
    similarity = [(pair_vectors(total, weights, name) * vectors).sum(-1)]
    lower = torch.zeros_like(counts)
    for subject in range(subjects):  # one after the other, to sort a sample's pairs no more than once at a time
        rest = pair_vectors(total - added[:, subject : subject + 1], weights, name)
        lower[:, subject] = (rest[:, 0] * vectors[:, subject]).sum(-1)
    alone = (counts > 0).sum(1) < 2
    means = [(torch.where(counts > 0, counts * one, 0)).sum(1) / counts.sum(1) for one in (lower, similarity[0])]
    return torch.stack([means[0].masked_fill(alone, torch.nan), means[1]], 1)


def _of_kendall(values: Tensor, name: str) -> Tensor:
    held = ranks(values)
    total = held.sum(0)
    rows = values.detach().cpu().numpy()
    bounds = [
        [kendall(pooled.cpu().numpy()[None], row[None], name).item() for pooled, row in zip(pools, rows, strict=True)]
        for pools in (total - held, total.expand(len(held), -1))
    ]
    return torch.tensor(bounds, dtype=values.dtype, device=values.device).mean(1)
