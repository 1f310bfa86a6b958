"""Layers beside areas, and models beside each other, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from cotrain.analysis._arrays import Given
from cotrain.analysis._compare_rdms import comparison_name, similarities
from cotrain.analysis._noise_ceiling import noise_ceiling
from cotrain.analysis._tagged_rdm import Rdm, only_known, same_stimuli
from cotrain.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def rsa_table(
    layers: Mapping[str, Given | Rdm], areas: Mapping[str, Given | Rdm], method: str = "pearson"
) -> pd.DataFrame:
    """The similarity of each layer to each area, one row each.

    Args:
        layers: {name: (stimuli, stimuli)} of a model's layers, or of models.
        areas: {name: (stimuli, stimuli) or (subjects, stimuli, stimuli)}. They may be of other stimuli only where both
            sides are `Rdm` with ids that name the same ones.
        method: One of those of `compare_rdms`.

    Returns:
        Columns: layer, area, method, similarity (mean over subjects), standard_error (of that mean, over subjects; NaN
        for one), subjects, stimuli, ceiling_lower, ceiling_upper (NaN for one subject, and for "bures").

    Raises:
        CotrainError, DataError: As `compare_rdms`.
    """
    import pandas as pd

    name = comparison_name(method)
    rows = []
    for area, data in areas.items():
        ceiling = (np.nan, np.nan)
        for layer, rdm in layers.items():
            first, second = same_stimuli(rdm, data)
            _require_one(first.ndim, layer)
            first, second = only_known(first, f"The RDM of {layer!r}"), only_known(second, f"The RDM of {area!r}")
            if second.ndim == 3 and len(second) > 1 and name != "bures" and np.isnan(ceiling[0]):
                lower, upper = noise_ceiling(second.cpu().numpy(), name)
                ceiling = (float(lower), float(upper))
            found = similarities(first, second, name)[0].cpu().numpy()
            error = float(np.std(found, ddof=1) / len(found) ** 0.5) if len(found) > 1 else np.nan
            rows.append((layer, area, name, float(found.mean()), error, len(found), first.shape[-1], *ceiling))
    columns = ["layer", "area", "method", "similarity", "standard_error", "subjects", "stimuli"]
    return pd.DataFrame(rows, columns=[*columns, "ceiling_lower", "ceiling_upper"])


def second_order_rdm(rdms: Mapping[str, Given | Rdm], method: str = "pearson") -> pd.DataFrame:
    """How unlike the geometries of models, layers or areas are: 1 - similarity of each two RDMs.

    Args:
        rdms: {name: (stimuli, stimuli)}, two or more among the same stimuli.
        method: One of those of `compare_rdms`.

    Returns:
        (rdms, rdms), zero on the diagonal, with the names on both sides: again an RDM, whose "stimuli" are the models.

    Raises:
        CotrainError, DataError: As `compare_rdms`; or fewer than two are given.
    """
    import pandas as pd
    import torch

    name = comparison_name(method)
    if len(rdms) < 2:
        raise DataError(f"A second-order RDM needs two RDMs or more, found {len(rdms)}.")
    reference = next(iter(rdms.values()))
    held = []
    for label, rdm in rdms.items():
        _, one = same_stimuli(reference, rdm)
        _require_one(one.ndim, label)
        held.append(only_known(one, f"The RDM of {label!r}"))
    stacked = torch.stack(held)
    distance = 1 - similarities(stacked, stacked, name).cpu().numpy()
    distance = (distance + distance.T) / 2
    np.fill_diagonal(distance, 0)
    return pd.DataFrame(distance, index=pd.Index(rdms, name="rdm"), columns=list(rdms))


def _require_one(ndim: int, name: str) -> None:
    if ndim != 2:
        raise DataError(f"{name!r} must be one RDM, (stimuli, stimuli); found several.")
