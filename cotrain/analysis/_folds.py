"""Which stimuli are held out, and how that was drawn: K-fold, by group, stratified, repeated, or as given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from cotrain.analysis._known_rows import FEWEST
from cotrain.errors import DataError
from cotrain.seeds import derive_seed

Pair = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class Folds:
    """Pairs of stimuli for fitting and stimuli held out, and what they are.

    Args:
        pairs: (train, test) positions of stimuli, sorted; no stimulus is in both.
        stimuli: How many there are.
        name: How they were made, for tables.
        seed: That they were drawn with; None: nothing was drawn.
    """

    pairs: tuple[Pair, ...]
    stimuli: int
    name: str
    seed: int | None = None

    def __len__(self) -> int:
        return len(self.pairs)

    def within(self, rows: NDArray[np.int64]) -> Folds:
        """The folds among some stimuli, by their place in `rows`; those that hold none of these out fall away.

        Raises:
            DataError: A fold leaves too few of them to be fitted, or none is left.
        """
        if len(rows) == self.stimuli:
            return self
        place = np.full(self.stimuli, -1)
        place[rows] = np.arange(len(rows))
        cut = [tuple(found[found >= 0] for found in (place[train], place[test])) for train, test in self.pairs]
        pairs = tuple((train, test) for train, test in cut if len(test))
        if not pairs or min(len(train) for train, _ in pairs) < FEWEST:
            raise DataError(
                f"{self.name}: some targets are known for {len(rows)} of {self.stimuli} stimuli, and a fold leaves "
                f"fewer than {FEWEST} of them to be fitted. Leave those targets out, or take fewer folds."
            )
        return Folds(pairs, len(rows), self.name, self.seed)

    def tensors(self, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """The pairs as indices on a device."""
        for train, test in self.pairs:
            yield torch.from_numpy(train).to(device), torch.from_numpy(test).to(device)


FoldsLike = Folds | int | Sequence[tuple[ArrayLike, ArrayLike]]
"""Folds, or a number of seeded K folds, or pairs (train, test) of positions or of masks."""


class _Splitter(Protocol):
    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Pair]: ...


def as_folds(folds: FoldsLike, stimuli: int, *, seed: int) -> Folds:
    """What was given as folds of so many stimuli.

    Raises:
        DataError: They are of another number of stimuli, overlap, are empty, or name stimuli that there are not.
    """
    if isinstance(folds, Folds):
        if folds.stimuli != stimuli:
            raise DataError(f"{folds.name}: the folds are of {folds.stimuli} stimuli, the features of {stimuli}.")
        return folds
    if isinstance(folds, int):
        return k_fold(stimuli, folds, seed=seed)
    return given_folds(folds, stimuli)


def given_folds(pairs: Sequence[tuple[ArrayLike, ArrayLike]], stimuli: int, *, name: str = "given") -> Folds:
    """Folds that others made: pairs (train, test) of positions, or of boolean masks over all stimuli.

    Raises:
        DataError: A pair overlaps, is too small, or names a stimulus that there is not.
    """
    found = []
    for number, pair in enumerate(pairs):
        if len(pair) != 2:
            raise DataError(f"Fold {number}: expected a pair (train, test), found {len(pair)} parts.")
        train, test = (_positions(part, stimuli, number) for part in pair)
        if len(both := np.intersect1d(train, test)):
            raise DataError(f"Fold {number}: {len(both)} stimuli are in both parts, first {both[:5].tolist()}.")
        if len(train) < FEWEST or not len(test):
            raise DataError(
                f"Fold {number}: {len(train)} stimuli to be fitted and {len(test)} held out; give {FEWEST} or more, "
                "and 1 or more."
            )
        found.append((train, test))
    if not found:
        raise DataError("There are no folds; give one pair (train, test) or more.")
    return Folds(tuple(found), stimuli, name)


def k_fold(stimuli: int, folds: int = 5, *, seed: int) -> Folds:
    """K parts of the stimuli, drawn with the seed's `split` child; each is held out once."""
    from sklearn.model_selection import KFold

    _require_count(folds, stimuli, "stimuli")
    splitter = KFold(folds, shuffle=True, random_state=_state(seed))
    return _of(splitter, stimuli, f"{folds}-fold", seed)


def group_k_fold(groups: ArrayLike, folds: int = 5, *, seed: int) -> Folds:
    """K parts that never separate stimuli of a group (of one object, one scene, one film), as even as groups allow.

    Args:
        groups: One value a stimulus.
        folds: At most as many as groups.
        seed: Groups of one size are dealt out in an order drawn with its `split` child.
    """
    values = np.asarray(groups)
    names, member, size = np.unique(values, return_inverse=True, return_counts=True)
    _require_count(folds, len(names), "groups")
    order = np.random.default_rng(derive_seed(seed, "split")).permutation(len(names))
    part, held = np.empty(len(names), int), np.zeros(folds, int)
    for group in order[np.argsort(-size[order], kind="stable")]:  # the largest first, each to the smallest part
        part[group] = held.argmin()
        held[part[group]] += size[group]
    tests = [np.flatnonzero(part[member] == number) for number in range(folds)]
    pairs = tuple((np.setdiff1d(np.arange(len(values)), test), test) for test in tests)
    return Folds(pairs, len(values), f"{folds}-fold by group", seed)


def stratified_k_fold(strata: ArrayLike, folds: int = 5, *, seed: int) -> Folds:
    """K parts, each with as many stimuli of every stratum (object, category) as the others, or one more.

    Args:
        strata: One value a stimulus.
        folds: At most as many as the rarest stratum has stimuli.
        seed: They are drawn with its `split` child.
    """
    from sklearn.model_selection import StratifiedKFold

    values = np.asarray(strata)
    _require_count(folds, _rarest(values), "stimuli of the rarest stratum")
    splitter = StratifiedKFold(folds, shuffle=True, random_state=_state(seed))
    return _of(splitter, len(values), f"{folds}-fold, stratified", seed, values)


def brain_score_splits(strata: ArrayLike, *, splits: int = 10, train: float = 0.9) -> Folds:
    """Brain-Score's: stratified shuffle splits by object, always drawn with scikit-learn's random state 1.

    The protocol of `brainscore_vision` (`CrossValidation`), so that its numbers can be compared with. A stimulus may be
    held out several times, or never.
    """
    from sklearn.model_selection import StratifiedShuffleSplit

    values = np.asarray(strata)
    _require_count(2, _rarest(values), "stimuli of the rarest stratum")
    splitter = StratifiedShuffleSplit(splits, train_size=train, random_state=1)
    try:
        return _of(splitter, len(values), f"{splits} stratified splits, {train:g} for training", 1, values)
    except ValueError as error:
        raise DataError(f"brain_score_splits: {error}") from None


def _of(splitter: _Splitter, stimuli: int, name: str, seed: int, strata: NDArray[Any] | None = None) -> Folds:
    pairs = splitter.split(np.zeros(stimuli), strata)
    return Folds(tuple((np.sort(train), np.sort(test)) for train, test in pairs), stimuli, name, seed)


def _state(seed: int) -> int:
    return derive_seed(seed, "split") % 2**32


def _rarest(strata: NDArray[Any]) -> int:
    return int(np.unique(strata, return_counts=True)[1].min()) if len(strata) else 0


def _require_count(folds: int, most: int, what: str) -> None:
    if not 2 <= folds <= most:
        raise DataError(f"Folds must be 2 or more, and no more than the {most} {what}; found {folds}.")


def _positions(part: ArrayLike, stimuli: int, number: int) -> NDArray[np.int64]:
    values = np.asarray(part)
    if values.dtype == bool:
        if values.shape != (stimuli,):
            raise DataError(f"Fold {number}: a mask of shape {values.shape} for {stimuli} stimuli.")
        return np.flatnonzero(values)
    if not values.size:
        return np.zeros(0, np.int64)
    found = np.unique(values.astype(np.int64))
    if (
        values.dtype.kind not in "iu"
        or len(found) < values.size
        or (len(found) and not 0 <= found[0] <= found[-1] < stimuli)
    ):
        raise DataError(
            f"Fold {number}: expected each of the positions 0 to {stimuli - 1} once at most, or a mask, found "
            f"{values.dtype} {values.ravel()[:5].tolist()}..."
        )
    return found
