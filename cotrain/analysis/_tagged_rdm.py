"""RDMs that say what they hold, and the checks that keep similarities from being taken for distances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from cotrain.analysis._arrays import Array, Given, like, to_tensor
from cotrain.errors import DataError

Kind = Literal["distance", "similarity"]
ROUNDING = 1e-5  # of the largest entry: what float32 may leave of symmetry and of zeros on the diagonal


@dataclass(frozen=True, eq=False)
class Rdm:
    """A representational matrix, or several among the same stimuli, with what they hold and whose stimuli they are.

    >>> import numpy as np
    >>> held = Rdm(np.array([[1.0, 0.2], [0.2, 1.0]]), kind="similarity", ids=("face", "house"))
    >>> held.distances().values.tolist()
    [[0.0, 0.8], [0.8, 0.0]]

    Args:
        values: (stimuli, stimuli), or (rdms, stimuli, stimuli); symmetric. NaN where a pair is not known.
        kind: "distance": larger for what is less alike, zero on the diagonal; "similarity": the contrary.
        ids: Names of the stimuli, each once, in the order of the rows; may be left out.
        measure: How the values were computed, for people.

    Raises:
        DataError: The matrix is not square or not symmetric, holds an infinity, its diagonal is not that of its kind,
            or ids are not one a row, each once.
    """

    values: Array
    kind: Kind = "distance"
    ids: tuple[str, ...] = ()
    measure: str = ""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise DataError(f"An Rdm holds values of the kind 'distance' or 'similarity', found {self.kind!r}.")
        stimuli = checked(self.values, self.kind, "Rdm").shape[-1]
        if self.ids and (len(self.ids) != stimuli or len(set(self.ids)) != stimuli):
            raise DataError(
                f"An Rdm of {stimuli} stimuli needs as many ids, each once; found {len(self.ids)}, "
                f"{len(set(self.ids))} different ones."
            )

    def distances(self) -> Rdm:
        """The same as distances: (k(i,i) + k(j,j)) / 2 - k(i,j), which is 1 - k(i,j) where the diagonal is 1."""
        if self.kind == "distance":
            return self
        kernel = to_tensor(self.values, "Rdm")
        square = kernel.diagonal(dim1=-2, dim2=-1)
        distance = (square[..., :, None] + square[..., None, :]) / 2 - kernel
        return replace(self, values=like(distance, self.values), kind="distance")

    def in_order(self, ids: Sequence[str]) -> Rdm:
        """The same with these stimuli, in this order.

        Raises:
            DataError: The stimuli have no ids, or some of these are not among them.
        """
        if not self.ids:
            raise DataError("The Rdm has no ids, so its stimuli cannot be put in the order of names. Give it ids.")
        row = {name: number for number, name in enumerate(self.ids)}
        if missing := [name for name in ids if name not in row]:
            raise DataError(f"The Rdm has no stimuli {', '.join(map(repr, missing[:5]))} ({len(missing)} are missing).")
        rows = [row[name] for name in ids]
        held: Any = self.values
        return replace(self, values=held[..., rows, :][..., :, rows], ids=tuple(ids))


def checked(values: Given, kind: Kind, where: str) -> Tensor:
    """float64 (stimuli, stimuli) or (rdms, stimuli, stimuli) that may be a matrix of this kind; NaN is let through.

    Raises:
        DataError: As `Rdm`.
    """
    held = to_tensor(values, where).double()
    if held.ndim not in (2, 3) or held.shape[-1] != held.shape[-2]:
        hint = ""
        if held.ndim == 1:
            hint = " Of pairs in one row, scipy.spatial.distance.squareform makes the matrix."
        raise DataError(f"{where}: needs (stimuli, stimuli) or (rdms, stimuli, stimuli), found {_shape(held)}.{hint}")
    if _is_plain(held, kind):
        return held
    if bool(held.isinf().any()):
        raise DataError(f"{where}: {int(held.isinf().sum())} entries are infinite. Leave these stimuli out.")
    known = held.detach().nan_to_num()
    largest = float(known.abs().max()) if known.numel() else 0.0
    _require_symmetric(held.detach(), largest, where)
    diagonal = known.diagonal(dim1=-2, dim2=-1)
    zero = diagonal.abs() <= ROUNDING * largest
    if kind == "distance" and not bool(zero.all()):
        value = float(diagonal[~zero][0])
        if bool((diagonal - value).abs().max() <= ROUNDING * largest) and value >= largest * (1 - ROUNDING):
            raise DataError(
                f"{where}: has {value:.6g} all along the diagonal, as matrices of similarities have; distances have 0 "
                "there. Say so with Rdm(values, kind='similarity'), whose distances() is what can be compared."
            )
        raise DataError(
            f"{where}: the distance of a stimulus from itself must be 0, found {value:.6g} on the diagonal. Of "
            "similarities say so with Rdm(values, kind='similarity'); else set the diagonal to 0."
        )
    if kind == "similarity" and held.shape[-1] > 1 and largest > 0 and bool(zero.all()):
        raise DataError(
            f"{where}: said to hold similarities, but a stimulus has none with itself: 0 all along the diagonal, as "
            "matrices of distances have. Use kind='distance', or give the diagonal of the similarities."
        )
    return held


def same_stimuli(a: Given | Rdm, b: Given | Rdm) -> tuple[Tensor, Tensor]:
    """Both as distances in float64, b with its stimuli in the order of a where both have ids.

    Raises:
        DataError: One holds distances and the other similarities, or they are not among the same stimuli; or as `Rdm`.
    """
    if _kind(a) != _kind(b):
        raise DataError(
            f"The first matrix holds values of the kind {_kind(a)!r}, the second of the kind {_kind(b)!r}; compared as "
            "they are, like geometries would come out as opposite ones. Use .distances() of the similarities."
        )
    if isinstance(a, Rdm) and isinstance(b, Rdm) and a.ids and b.ids and a.ids != b.ids:
        if other := sorted(set(a.ids) ^ set(b.ids)):
            raise DataError(
                f"The matrices are not among the same stimuli: {', '.join(map(repr, other[:5]))} "
                f"({len(other)} in all) are in one of them only. Use .in_order(ids) of those in common."
            )
        b = b.in_order(a.ids)
    first, second = _distances(a, "The first matrix"), _distances(b, "The second matrix")
    if first.shape[-1] != second.shape[-1]:
        raise DataError(
            f"The matrices must be among the same stimuli, found {first.shape[-1]} and {second.shape[-1]} of them."
        )
    return first, second.to(first.device)


def as_distances(given: Given | Rdm, where: str) -> Tensor:
    """float64 distances (stimuli, stimuli) or (rdms, stimuli, stimuli); plain numbers are taken for distances.

    Raises:
        DataError: As `Rdm`.
    """
    return _distances(given, where)


def only_known(held: Tensor, where: str) -> Tensor:
    """The same, without NaN off the diagonal.

    Raises:
        DataError: A pair is NaN.
    """
    if bool(held.detach().sum().isfinite()):
        return held
    off = ~torch.eye(held.shape[-1], dtype=torch.bool, device=held.device)
    missing = held.isnan() & off
    if bool(missing.any()):
        stimuli = int(missing.any(-1).reshape(-1, held.shape[-1]).any(0).sum())
        raise DataError(
            f"{where}: {int(missing.sum()) // 2} pairs are NaN, of {stimuli} stimuli. Was a pattern constant, or not "
            "shown? Leave these stimuli out. compare_rdms can leave pairs out: missing='omit'."
        )
    return held


def _distances(given: Given | Rdm, where: str) -> Tensor:
    if isinstance(given, Rdm):
        held = to_tensor(given.distances().values, where).double()
    else:
        held = checked(given, "distance", where)
    if not bool(held.diagonal(dim1=-2, dim2=-1).any()):
        return held
    return held.masked_fill(torch.eye(held.shape[-1], dtype=torch.bool, device=held.device), 0)


def _is_plain(held: Tensor, kind: str) -> bool:
    """Finite distances, exactly symmetric and exactly 0 on the diagonal: nothing else needs to be looked at."""
    plain = kind == "distance" and bool(held.detach().sum().isfinite())
    plain = plain and not bool(held.diagonal(dim1=-2, dim2=-1).any())
    return plain and torch.equal(held, held.transpose(-2, -1))


def _require_symmetric(held: Tensor, largest: float, where: str) -> None:
    transposed = held.transpose(-2, -1)
    apart = (held.nan_to_num() - transposed.nan_to_num()).abs()
    apart = apart.masked_fill(held.isnan() != transposed.isnan(), torch.inf)
    if bool((apart > ROUNDING * largest).any()):
        place = tuple(int(part) for part in (apart == apart.max()).nonzero()[0])
        *_, row, column = place
        raise DataError(
            f"{where}: not symmetric: entry [{row}, {column}] is {float(held[place]):.6g}, [{column}, {row}] is "
            f"{float(transposed[place]):.6g}. Average the two halves, if they differ by chance only."
        )


def _kind(given: Given | Rdm) -> str:
    return given.kind if isinstance(given, Rdm) else "distance"


def _shape(held: Tensor) -> str:
    return "(" + ", ".join(map(str, held.shape)) + ")"
