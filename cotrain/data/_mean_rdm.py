"""One RDM of several subjects."""

from __future__ import annotations

import torch
from torch import Tensor

from cotrain.dissimilarity import pairs
from cotrain.errors import DataError


def mean_rdm(rdms: Tensor, where: str) -> Tensor:
    """The mean RDM of subjects who count alike: each is divided by its standard deviation over pairs first.

    But for level and scale this is the RDM with the highest mean Pearson correlation with those of the subjects (Nili
    et al. 2014, PLoS Computational Biology 10:e1003553, on noise ceilings). The mean is multiplied by the mean of the
    standard deviations: equal RDMs are their own mean, and the unit stays. The level may lie off that of every
    subject, so this is for comparisons that leave it out ("pearson", "spearman", "cka").

    Args:
        rdms: (subjects, rows, rows).
        where: Named in errors.

    Raises:
        DataError: All dissimilarities of a subject are equal.
    """
    exact = rdms.double()
    spreads = torch.stack([spread_of(matrix, f"{where}, subject {number}") for number, matrix in enumerate(exact, 1)])
    mean = (exact / spreads[:, None, None]).mean(0) * spreads.mean()
    return mean.to(rdms.dtype)


def spread_of(rdm: Tensor, where: str) -> Tensor:
    """Standard deviation over pairs; an RDM without any is refused.

    Raises:
        DataError: All dissimilarities are equal.
    """
    values = pairs(rdm.double())
    spread = values.std(correction=0)
    if bool(spread <= 1e-6 * values.abs().amax()):
        raise DataError(
            f"{where}: all dissimilarities of the RDM are {float(values[0]):.4g}; there is no geometry to learn. Use "
            "more neurons or another dissimilarity, or leave it out."
        )
    return spread
