"""Neurons that share the stimuli to which their responses are known, so that each such group is fitted at once."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import torch
from torch import Tensor

from cotrain.errors import DataError

log = logging.getLogger(__name__)

FEWEST = 3  # stimuli: of two, each is predicted by a constant


def require_pair(x: Tensor, y: Tensor, what: str) -> None:
    """Refuse features and targets that do not fit together.

    Raises:
        DataError: Other numbers of rows, too few, no column, or features that are not finite.
    """
    if len(x) != len(y):
        raise DataError(f"{what}: {len(x)} rows of features but {len(y)} of targets. Each stimulus needs one of both.")
    if len(x) < FEWEST:
        raise DataError(f"{what}: {len(x)} stimuli are too few; give {FEWEST} or more.")
    if not x.shape[1] or not y.shape[1]:
        raise DataError(f"{what}: {x.shape[1]} features and {y.shape[1]} targets; give one or more of both.")
    # one pass without a copy: a sum is finite only if all are (or they overflow, which is as bad)
    if not bool(x.sum(1).isfinite().all()):
        rows = (~x.isfinite().all(1)).nonzero().flatten().tolist()
        raise DataError(
            f"{what}: the features of {len(rows)} stimuli hold NaN, infinite or overflowing values, first at rows "
            f"{rows[:5]}. Leave those stimuli out, or find out what the network does there."
        )
    if bool(y.isinf().any()):
        raise DataError(f"{what}: targets hold infinite values; write NaN for what is not known.")


def known_groups(y: Tensor, what: str) -> Iterator[tuple[Tensor, Tensor]]:
    """(rows, columns): targets (columns) that are known for the same stimuli (rows).

    Those with fewer than `FEWEST` known stimuli, or that are constant over these, are in no group; a warning says how
    many.
    """
    known = ~y.isnan()
    low = torch.where(known, y, torch.inf).amin(0)
    high = torch.where(known, y, -torch.inf).amax(0)
    constant = high - low <= 1e-6 * torch.maximum(low.abs(), high.abs())
    out = constant | (known.sum(0) < FEWEST)
    if bool(out.any()):
        log.warning(
            "%s: %d of %d targets are constant or known for fewer than %d stimuli; they have no prediction (NaN).",
            what, int(out.sum()), y.shape[1], FEWEST,
        )  # fmt: skip
    columns = (~out).nonzero().flatten()
    if not len(columns):
        return
    if bool(known.all()):
        yield torch.arange(len(y), device=y.device), columns
        return
    patterns, member = torch.unique(known[:, columns], dim=1, return_inverse=True)
    if patterns.shape[1] > 1:
        log.info("%s: targets are known for %d different sets of stimuli; each is fitted.", what, patterns.shape[1])
    for number in range(patterns.shape[1]):
        yield patterns[:, number].nonzero().flatten(), columns[member == number]
