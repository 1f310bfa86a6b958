"""Trials become a session: repeats of one stimulus side by side, pictures found by number, splits free of leaks."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cotrain.data._image_files import ImageFiles
from cotrain.data.recordings._recording import Session, Values
from cotrain.errors import DataError

SHOWN = 5  # ids that an error text lists


@dataclass(frozen=True)
class Trials:
    """Presentations of one split of one session, in the order in which they happened.

    Args:
        ids: int64 (trials,), the number of the picture that each showed.
        responses: float32 (trials, neurons).
        labels: One text a trial; None where none were published.
    """

    ids: NDArray[np.int64]
    responses: NDArray[np.float32]
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True)
class SplitTrials:
    """Training and test trials of one session, and the metadata of its neurons."""

    train: Trials
    test: Trials
    neurons: Mapping[str, Values] = field(default_factory=dict)


def stack_repeats(trials: Trials) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Put the repeats of each stimulus side by side.

    Returns:
        The ids, ascending, each once; float32 (stimuli, repeats, neurons), the repeats in the order of the trials,
        NaN behind the last one of a stimulus that was shown less often than others.
    """
    order = np.argsort(trials.ids, kind="stable")
    ids, first, row, counts = np.unique(trials.ids[order], return_index=True, return_inverse=True, return_counts=True)
    repeat = np.arange(len(order)) - first[row]
    shape = (len(ids), int(counts.max(initial=0)), trials.responses.shape[1])
    stacked = np.full(shape, np.nan, np.float32)
    stacked[row, repeat] = trials.responses[order]
    return ids, stacked


def session_of(trials: SplitTrials, images: Mapping[int, Path], where: str, place: str) -> Session:
    """Training stimuli, then test stimuli, both by number.

    Args:
        trials: Of one session.
        images: The file of each picture's number.
        where: The session, as errors name it.
        place: Where the pictures should be, as errors name it.

    Raises:
        DataError: A picture is missing, or one stimulus has several labels.
    """
    parts = [stack_repeats(part) for part in (trials.train, trials.test)]
    numbers = [int(number) for ids, _ in parts for number in ids]
    if missing := [number for number in numbers if number not in images]:
        raise DataError(f"{where}: {len(missing)} stimuli have no picture in {place}: {_listed(missing)}.")
    repeats = max(stacked.shape[1] for _, stacked in parts)
    responses = np.full((len(numbers), repeats, parts[0][1].shape[2]), np.nan, np.float32)
    begin = 0
    for _, stacked in parts:
        responses[begin : begin + len(stacked), : stacked.shape[1]] = stacked
        begin += len(stacked)
    conditions: dict[str, Values] = {}
    if trials.train.labels is not None and trials.test.labels is not None:
        label = {**_label_by_id(trials.train, where), **_label_by_id(trials.test, where)}
        conditions["label"] = tuple(label[number] for number in numbers)
    return Session(
        stimuli=tuple(str(number) for number in numbers),
        responses=responses[:, 0] if repeats == 1 else responses,
        images=ImageFiles(tuple(images[number] for number in numbers)),
        split=("train",) * len(parts[0][0]) + ("test",) * len(parts[1][0]),
        conditions=conditions,
        neurons=trials.neurons,
    )


def check_leaks(sessions: Mapping[str, SplitTrials], where: str) -> None:
    """Refuse a picture that is for training in one session and for testing in the same or another one.

    Raises:
        DataError: Names the sessions and the pictures.
    """
    train = {name: set(held.train.ids.tolist()) for name, held in sessions.items()}
    owner: dict[int, str] = {}
    for name, ids in train.items():
        owner.update(dict.fromkeys(ids - owner.keys(), name))
    for name, held in sessions.items():
        test = set(held.test.ids.tolist())
        if both := sorted(test & train[name]):
            raise DataError(
                f"{where}, session {name}: {len(both)} image ids are in train and in test: {_listed(both)}."
            )
        if both := sorted(test & owner.keys()):
            raise DataError(
                f"{where}: {len(both)} image ids that session {name} tests are in another session's training set, "
                f"first that of {owner[both[0]]}: {_listed(both)}. A model trained on both would be tested on "
                "pictures that it knows: read fewer sessions, or leave these out."
            )


def numbered_files(folder: Path, suffix: str) -> dict[int, Path]:
    """Files of a folder whose names are numbers, by number; however many zeros stand in front.

    Raises:
        DataError: There is no such folder, or two files have one number.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}. It must hold the pictures, as 000001{suffix} and so on.")
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() != suffix or not re.fullmatch(r"[0-9]+", path.stem):
            continue
        number = int(path.stem)
        if number in found:
            raise DataError(f"{folder}: {found[number].name} and {path.name} have one number. Delete one of them.")
        found[number] = path
    return found


def chosen_sessions(known: Collection[str], sessions: Sequence[str] | None, folder: Path) -> list[str]:
    """The sessions to read; None: all.

    Raises:
        DataError: One is not known, or none is left.
    """
    names = sorted(known) if sessions is None else list(dict.fromkeys(sessions))
    if missing := [name for name in names if name not in known]:
        raise DataError(
            f"{folder} lacks the sessions {', '.join(missing)}; it has: {', '.join(sorted(known)) or 'none'}."
        )
    if not names:
        raise DataError(f"{folder} holds no session, or none was named.")
    return names


def _label_by_id(trials: Trials, where: str) -> dict[int, str]:
    label: dict[int, str] = {}
    for number, text in zip(trials.ids.tolist(), trials.labels or (), strict=True):
        if label.setdefault(number, text) != text:
            raise DataError(f"{where}: image {number} is labelled {label[number]!r} and {text!r}.")
    return label


def _listed(ids: Iterable[int]) -> str:
    ids = list(ids)
    return ", ".join(map(str, ids[:SHOWN])) + (", ..." if len(ids) > SHOWN else "")
