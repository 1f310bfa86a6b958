"""RDMs from and to rsatoolbox (the extra `references`), the field's own library."""

from __future__ import annotations

from typing import Any

import numpy as np

from cotrain.analysis._arrays import Given
from cotrain.analysis._tagged_rdm import Rdm, checked
from cotrain.errors import CotrainError, DataError


def from_rsatoolbox(rdms: Any, *, ids: str | None = None) -> Rdm:
    """The RDMs of an `rsatoolbox.rdm.RDMs`, as (rdms, stimuli, stimuli).

    Args:
        rdms: The object.
        ids: Which of its pattern descriptors names the stimuli; by default the first but "index" whose values are
            each there once. rsatoolbox sorts rows by the alphabet when it computes RDMs with a descriptor, so with ids
            what is compared is matched by them.

    Raises:
        DataError: It is no such object, or has no such descriptor.
    """
    try:
        matrices, named = np.asarray(rdms.get_matrices(), dtype=np.float64), dict(rdms.pattern_descriptors)
    except AttributeError as error:
        raise DataError(f"Expected an rsatoolbox.rdm.RDMs, found a {type(rdms).__name__}.") from error
    if ids is not None and ids not in named:
        raise DataError(f"The RDMs have no pattern descriptor {ids!r}; there are {', '.join(named) or 'none'}.")
    chosen: tuple[str, ...] = ()
    for name in [ids] if ids is not None else [name for name in named if name != "index"]:
        values = tuple(map(str, named[name]))
        if ids is not None or len(set(values)) == matrices.shape[-1]:
            chosen = values
            break
    return Rdm(matrices, "distance", chosen, str(rdms.dissimilarity_measure or ""))


def to_rsatoolbox(rdms: Given | Rdm, *, measure: str = "") -> Any:
    """An `rsatoolbox.rdm.RDMs` of the same distances; ids become the pattern descriptor "stimulus".

    Args:
        rdms: (stimuli, stimuli) or (rdms, stimuli, stimuli), distances or an `Rdm` of any kind.
        measure: How the values were computed, where an `Rdm` does not say it.

    Raises:
        CotrainError: rsatoolbox is not installed.
        DataError: As `Rdm`.
    """
    try:
        from rsatoolbox.rdm import RDMs
    except ImportError as error:
        raise CotrainError(
            "rsatoolbox is not installed. Install it with: pip install 'cotrain[references]'."
        ) from error
    held = rdms.distances() if isinstance(rdms, Rdm) else Rdm(rdms, measure=measure)  # type: ignore[arg-type]
    matrices = checked(held.values, "distance", "RDMs").detach().cpu().numpy()
    matrices = matrices if matrices.ndim == 3 else matrices[None]
    rows, columns = np.triu_indices(matrices.shape[-1], 1)
    descriptors = {"stimulus": list(held.ids)} if held.ids else None
    return RDMs(
        matrices[:, rows, columns], dissimilarity_measure=held.measure or measure or None,
        pattern_descriptors=descriptors,
    )  # fmt: skip
