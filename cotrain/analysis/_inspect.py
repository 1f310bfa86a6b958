"""What is in a data file or folder: shapes, counts, copies, reliability; to be looked at before anything is trained."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from cotrain.data import (
    ImageFiles,
    Images,
    Preparation,
    decode,
    duplicate_groups,
    find_pictures,
    image_facts,
    image_tensor,
    session_images,
)
from cotrain.data.recordings import Format, Recording, Session, detect_format, read_recording
from cotrain.errors import DataError
from cotrain.metrics import split_half_reliability

if TYPE_CHECKING:
    import pandas as pd

NEAR = 8  # bits of 256 by which the average hashes of near copies differ at most
NEAR_LIMIT = 64  # as `SplitConfig.near_duplicates`
THUMBNAIL = 64  # pixels a side of folders' pictures, which may differ in size
GROUPS_SHOWN = 8


@dataclass(frozen=True)
class Copies:
    """Images of one set that show the same.

    Args:
        equal, near: {"images": in groups of two or more, "groups": such groups, "largest": images of one}, of images
            that are equal pixel by pixel, and of those that are equal or nearly so.
        groups: Positions of the images of the first groups of near copies.
    """

    equal: Mapping[str, int]
    near: Mapping[str, int]
    groups: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Args:
        title: What was looked at.
        facts: Sentences.
        table: One row a session, an array or a class.
        images: {name: images}, for a contact sheet.
        copies: {name: copies among these images}.
        responses: {session: mean responses (stimuli, neurons)}.
        reliability: {session: split-half reliability a neuron}, of sessions with repeats.
        unit: Of the responses.
    """

    title: str
    facts: tuple[str, ...]
    table: pd.DataFrame
    images: Mapping[str, Images] = field(default_factory=dict)
    copies: Mapping[str, Copies] = field(default_factory=dict)
    responses: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    reliability: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    unit: str = ""


def inspect_data(path: str | Path, *, format: Format | None = None, near: int = NEAR) -> Inspection:
    """Look at a recording in any format, an NPZ file, or a folder of pictures.

    Args:
        path: The file or folder.
        format: Of a recording; None: found out.
        near: Bits, of 256, by which the average hashes of near copies differ at most (`SplitConfig.near_duplicates`).

    Raises:
        DataError: There is nothing that can be read, it is damaged, or `near` is no number from 0 to 64.
    """
    path = Path(path)
    if not 0 <= near <= NEAR_LIMIT:
        raise DataError(f"Hashes of near copies differ in 0 to {NEAR_LIMIT} bits, found {near}.")
    if not path.exists():
        raise DataError(f"There is no {path}.")
    if path.suffix == ".npz":
        return _inspect_arrays(path, near)
    if format is not None or detect_format(path) is not None:
        return _inspect_recording(path, read_recording(path, format), near)
    if path.is_dir() and (pictures := find_pictures(path)):
        return _inspect_pictures(path, pictures, near)
    raise DataError(f"{path} is no recording in a known format, no NPZ file, and holds no pictures.")


def find_copies(images: Images, near: int = NEAR) -> Copies:
    """Count equal images and near copies."""
    equal, alike = duplicate_groups(images), duplicate_groups(images, near=near)
    order = np.argsort(alike, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(alike[order])) + 1)
    groups = [tuple(int(row) for row in part) for part in parts if len(part) > 1]
    return Copies(_counts(equal), _counts(alike), tuple(groups[:GROUPS_SHOWN]))


def _counts(groups: NDArray[np.int64]) -> dict[str, int]:
    sizes = np.bincount(groups)
    several = sizes[sizes > 1]
    return {"images": int(several.sum()), "groups": len(several), "largest": int(sizes.max(initial=0))}


def _inspect_recording(path: Path, recording: Recording, near: int) -> Inspection:
    import pandas as pd

    rows: dict[str, dict[str, Any]] = {}
    images, _ = session_images(recording, str(path), Preparation(channels=0), storage="files", damaged="skip")
    copies, responses, reliability = {}, {}, {}
    for name, session in recording.sessions.items():
        row: dict[str, Any] = {"neurons": session.responses.shape[-1], "stimuli": len(session.stimuli)}
        row["repeats"] = _repeats(session)
        if name in images:
            if damaged := len(session.stimuli) - len(images[name]):
                row["unreadable"] = damaged
            copies[name] = find_copies(images[name], near)
            row["pixels"] = "x".join(str(n) for n in images[name].shape[1:])
            row |= {"equal": copies[name].equal["images"], "near copies": copies[name].near["images"]}
        responses[name] = session.mean
        row["mean"] = float(np.nanmean(responses[name]))
        row["constant"] = int((np.nanmax(responses[name], 0) == np.nanmin(responses[name], 0)).sum())
        if session.responses.ndim == 3:
            reliability[name] = split_half_reliability(torch.from_numpy(session.responses)).numpy()
            row["reliability"] = _median(reliability[name])
        for split in dict.fromkeys(session.split):
            row[split] = session.split.count(split)
        for column in ("area", "animal"):
            if values := sorted({str(value) for value in session.neurons.get(column, ())}):
                row[column] = ", ".join(values)
        rows[name] = row
    window = "" if recording.window_ms is None else ", {:g} to {:g} ms after onset".format(*recording.window_ms)
    facts = [f"{recording.origin or 'A recording'}: {len(rows)} sessions, responses in {recording.unit}{window}."]
    if len(images) > 1:
        digests = np.concatenate([image_facts(held).digests for held in images.values()])
        facts.append(f"{len(np.unique(digests, axis=0))} different pictures in all sessions together.")
    facts += _copy_facts(copies, near)
    if reliability:
        facts.append("reliability: median over neurons of the split-half correlation, by the Spearman-Brown formula.")
    if constant := sum(row["constant"] for row in rows.values()):
        facts.append(f"{constant} neurons respond to all images alike; they teach nothing.")
    table = pd.DataFrame(rows.values(), index=pd.Index(rows, name="session"))
    return Inspection(str(path), tuple(facts), table, images, copies, responses, reliability, recording.unit)


def _repeats(session: Session) -> str:
    if session.responses.ndim == 2:
        return "averaged"
    counts = session.repeats
    return f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()}-{counts.max()}"


def _median(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _copy_facts(copies: Mapping[str, Copies], near: int) -> list[str]:
    facts = []
    for name, found in copies.items():
        if found.equal["images"]:
            facts.append(
                f"{name}: {found.equal['images']} images are in {found.equal['groups']} groups of equal ones (at most "
                f"{found.equal['largest']}); splits keep groups together."
            )
        if found.near["images"] > found.equal["images"]:
            facts.append(
                f"{name}: {found.near['images']} images are in {found.near['groups']} groups of near copies (at most "
                f"{found.near['largest']}; {near} bits apart); SplitConfig(near_duplicates={near}) keeps them together."
            )
    return facts


def _inspect_arrays(path: Path, near: int) -> Inspection:
    import pandas as pd

    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    images: dict[str, Images] = {}
    rows: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        shape = "x".join(str(n) for n in array.shape) or "one value"
        rows[name] = {"shape": shape, "type": str(array.dtype), "holds": _describe(array)}
        if _looks_like_images(array):
            images[name] = image_tensor(array, f"{path}, {name!r}")
    copies = {name: find_copies(held, near) for name, held in images.items()}
    responses, reliability = {}, {}
    counts = {len(held) for held in images.values()}
    for name, array in arrays.items():
        is_floating = np.issubdtype(array.dtype, np.floating)
        if name not in images and is_floating and array.ndim in (2, 3) and len(array) in counts:
            if array.shape[0] == array.shape[1]:
                continue  # an RDM
            with np.errstate(all="ignore"):
                session = Session(tuple(map(str, range(len(array)))), array.astype(np.float32))
                responses[name] = session.mean
            if array.ndim == 3:
                reliability[name] = split_half_reliability(torch.from_numpy(session.responses)).numpy()
                rows[name]["reliability"] = _median(reliability[name])
    table = pd.DataFrame(rows.values(), index=pd.Index(rows, name="array"))
    if "reliability" in table:
        table["reliability"] = table["reliability"].astype(object).where(table["reliability"].notna(), "")
    facts = (f"{len(arrays)} arrays.", *_copy_facts(copies, near))
    return Inspection(str(path), facts, table, images, copies, responses, reliability, "the file's unit")


def _looks_like_images(array: NDArray[Any]) -> bool:
    grey, colour = array.ndim == 3, array.ndim == 4 and (array.shape[3] in (1, 3) or array.shape[1] in (1, 3))
    return array.dtype == np.uint8 and (grey or colour) and min(array.shape) > 0


def _describe(array: NDArray[Any]) -> str:
    if array.dtype.kind in "US":
        values = [str(value) for value in array.ravel()[:4]]
        return ", ".join(values) + (" ..." if array.size > len(values) else "")
    if array.dtype.kind not in "iufb" or array.size == 0:
        return "nothing" if array.size == 0 else "other things"
    missing = int(np.isnan(array).sum()) if array.dtype.kind == "f" else 0
    if missing == array.size:
        return "NaN only"
    low, high = float(np.nanmin(array)), float(np.nanmax(array))
    return f"{low:.4g} to {high:.4g}" + (f", {missing} NaN" if missing else "")


def _inspect_pictures(path: Path, pictures: list[Path], near: int) -> Inspection:
    import pandas as pd

    decoded = decode(
        ImageFiles(tuple(pictures)), Preparation(size=THUMBNAIL, fit="crop"), storage="files", damaged="skip"
    )
    folders = [str(picture.parent.relative_to(path)) for picture in pictures]
    kept = set(decoded.kept.tolist())
    rows: dict[str, dict[str, int]] = {}
    for number, name in enumerate(folders):
        row = rows.setdefault(name, {"pictures": 0, "unreadable": 0})
        row["pictures"] += 1
        row["unreadable"] += number not in kept
    copies = {"pictures": find_copies(decoded.images, near)}
    facts = [
        f"{len(pictures)} pictures in {len(rows)} folders, {len(pictures) - len(kept)} of which cannot be read.",
        f"Pictures are compared as the squares of {THUMBNAIL} pixels that they would be trained on.",
        *_copy_facts(copies, near),
    ]
    for number in range(len(pictures)):
        if number not in kept:
            facts.append(f"cannot be read: {pictures[number]}")
    table = pd.DataFrame(rows.values(), index=pd.Index(rows, name="folder"))
    return Inspection(str(path), tuple(facts), table, {"pictures": decoded.images}, copies)
