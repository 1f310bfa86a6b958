"""Pictures of files decoded once, into a memory map that later runs find again by the files' content."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from cotrain.data._image_files import ImageFiles, Preparation, picture
from cotrain.data._image_rows import ImageFacts, ImageRows, MappedImages, Stack, facts_of
from cotrain.data._prefetch import in_order
from cotrain.errors import DataError
from cotrain.settings import cache_folder

log = logging.getLogger(__name__)

PIECE = 64  # pictures that one thread decodes at a time
THREADS = min(8, os.cpu_count() or 1)
DAMAGED_SHOWN = 5


@dataclass(frozen=True)
class Decoded:
    """Pictures of files, ready for use.

    Args:
        images: One row for each file that could be read.
        kept: int64, which of the files these are; all, unless damaged ones were skipped.
    """

    images: ImageRows
    kept: NDArray[np.int64]


class FileImages:
    """A stack that is decoded anew whenever it is read."""

    workers = THREADS

    def __init__(self, paths: Sequence[Path], preparation: Preparation, shape: tuple[int, int, int]) -> None:
        self.paths, self.preparation = tuple(paths), preparation
        self.shape = (len(self.paths), *shape)

    def read(self, rows: Tensor) -> Tensor:
        """Decode some files."""
        return torch.from_numpy(np.stack([picture(self.paths[row], self.preparation) for row in rows.tolist()]))


def decode(
    files: ImageFiles,
    preparation: Preparation,
    *,
    storage: Literal["memory_map", "files"] = "memory_map",
    damaged: Literal["stop", "skip"] = "stop",
    cache: Path | None = None,
) -> Decoded:
    """Decode pictures into the cache, or find them there.

    Args:
        files: Equal paths are decoded once.
        preparation: What is done to each.
        storage: "memory_map" keeps the pixels in the cache; "files" only what must be known of them (digests, sums),
            and decodes a picture each time it is used. Both give the same pixels.
        damaged: "stop" at the first file that cannot be read, or "skip" such files with a warning.
        cache: Its folder (default: the setting); entries are named by the content of the files and the preparation.

    Raises:
        DataError: A file is missing or damaged, pictures differ in size or colour, or the disk is full; names it.
    """
    if not files.paths:
        raise DataError("There are no image files to decode.")
    paths = list(dict.fromkeys(files.paths))
    place = {path: row for row, path in enumerate(paths)}
    cache = cache or cache_folder() / "images"
    entry = cache / _entry_name(_content(paths, cache), preparation)
    if not _is_complete(entry, storage):
        _fill(entry, paths, preparation, storage, damaged)
    held = np.load(entry / "facts.npz", allow_pickle=False)
    row_of_path = held["row"]  # -1 for a file that could not be read
    if (row_of_path < 0).any():
        _report_damaged(paths, row_of_path, json.loads((entry / "damaged.json").read_text()), damaged)
    kept = np.array([i for i, path in enumerate(files.paths) if row_of_path[place[path]] >= 0], np.int64)
    rows = torch.from_numpy(row_of_path[[place[files.paths[i]] for i in kept]].astype(np.int64))
    facts = ImageFacts(held["digests"], held["sums"])
    stack: Stack
    if storage == "memory_map":
        # copy-on-write: torch warns of arrays that it could not write to
        stack = MappedImages(torch.from_numpy(np.load(entry / "images.npy", mmap_mode="c")))
    else:
        good = [path for path, row in zip(paths, row_of_path, strict=True) if row >= 0]
        channels, height, width = (int(n) for n in held["shape"])
        stack = FileImages(good, preparation, (channels, height, width))
    return Decoded(ImageRows(stack, rows, facts), kept)


def _content(paths: list[Path], cache: Path) -> str:
    """Hash of all files' bytes; looked up where the same paths had the same sizes and times before."""
    try:
        stats = [(str(path.absolute()), (found := path.stat()).st_size, found.st_mtime_ns) for path in paths]
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}.") from None
    signature = cache / "signatures" / hashlib.blake2b(json.dumps(stats).encode(), digest_size=16).hexdigest()
    if signature.is_file() and len(text := signature.read_text()) == 32:
        return text

    def digest(path: Path) -> bytes:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).digest()

    total = hashlib.blake2b(digest_size=16)
    try:
        for part in _bar(in_order(digest, paths, workers=THREADS), "hashing pictures", len(paths)):
            total.update(part)
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}.") from None
    with _disk_errors(cache):
        signature.parent.mkdir(parents=True, exist_ok=True)
        own = signature.with_suffix(f".{os.getpid()}")
        own.write_text(total.hexdigest())
        own.replace(signature)
    return total.hexdigest()


def _entry_name(content: str, preparation: Preparation) -> str:
    text = json.dumps(["cotrain-images/1", content, asdict(preparation), PIL.__version__])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _is_complete(entry: Path, storage: str) -> bool:
    return (entry / "facts.npz").is_file() and (storage == "files" or (entry / "images.npy").is_file())


def _fill(
    entry: Path,
    paths: list[Path],
    preparation: Preparation,
    storage: str,
    damaged: Literal["stop", "skip"],
) -> None:
    """Decode all files into a folder beside, which then takes the entry's place: nobody sees half of it."""
    own = entry.with_name(f".{entry.name}.{os.getpid()}")
    pieces = [paths[i : i + PIECE] for i in range(0, len(paths), PIECE)]
    row_of_path, faults = np.full(len(paths), -1, np.int64), {}
    facts: list[ImageFacts] = []
    with _disk_errors(own):
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir(parents=True)
        try:
            pixels: NDArray[np.uint8] | None = None
            shape: tuple[int, ...] = ()
            row, number = 0, 0
            done = _bar(in_order(_decoder(preparation), pieces, workers=THREADS), "decoding", len(paths))
            for results in done:
                for found in results:
                    if isinstance(found, DataError):
                        if damaged == "stop":
                            raise found
                        faults[number] = str(found)
                    else:
                        if not shape:
                            shape = found.shape
                            pixels = _allocated(own, (len(paths), *shape)) if storage == "memory_map" else None
                        if found.shape != shape:
                            raise DataError(
                                f"{paths[number]} is {found.shape[1]}x{found.shape[2]} pixels, those before it "
                                f"{shape[1]}x{shape[2]}. Give a size that all are scaled to."
                            )
                        if pixels is not None:
                            pixels[row] = found
                        row_of_path[number], row = row, row + 1
                    number += 1
                good = [found for found in results if not isinstance(found, DataError)]
                if good:
                    facts.append(facts_of(torch.from_numpy(np.stack(good))))
            if not facts:
                raise DataError(f"None of {len(paths)} pictures can be read; the first: {faults[0]}")
            if isinstance(pixels, np.memmap):
                pixels.flush()
            (own / "damaged.json").write_text(json.dumps(faults))
            np.savez(
                own / "facts.npz",
                row=row_of_path,
                shape=np.array(shape),
                digests=np.concatenate([piece.digests for piece in facts]),
                sums=np.concatenate([piece.sums for piece in facts]),
            )
            if _is_complete(entry, storage):  # another process was quicker
                return
            shutil.rmtree(entry, ignore_errors=True)
            with contextlib.suppress(OSError):  # another process was quicker just now
                own.rename(entry)
        finally:
            shutil.rmtree(own, ignore_errors=True)


def _decoder(preparation: Preparation) -> Callable[[list[Path]], list[NDArray[np.uint8] | DataError]]:
    def decoded(paths: list[Path]) -> list[NDArray[np.uint8] | DataError]:
        found: list[NDArray[np.uint8] | DataError] = []
        for path in paths:
            try:
                found.append(picture(path, preparation))
            except DataError as error:
                found.append(error)
        return found

    return decoded


def _allocated(folder: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.uint8]]:
    """A memory map whose disk space is taken now: a disk that is full later would kill the process by SIGBUS."""
    path = folder / "images.npy"
    mapped = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return mapped


def _report_damaged(paths: list[Path], row_of_path: NDArray[np.int64], faults: dict[str, str], damaged: str) -> None:
    shown = "; ".join(list(faults.values())[:DAMAGED_SHOWN])
    count = int((row_of_path < 0).sum())
    if damaged == "stop":
        raise DataError(
            f"{count} of {len(paths)} pictures cannot be read: {shown}. Repair them, or skip damaged files."
        )
    log.warning("%d of %d pictures cannot be read and are skipped: %s", count, len(paths), shown)


@contextlib.contextmanager
def _disk_errors(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"The image cache {place} cannot be written: {error.strerror or error}. Free the disk, or name another "
            "folder with COTRAIN_CACHE."
        ) from None


def _bar(results: Iterable[Any], text: str, total: int) -> Iterator[Any]:
    """The results, with a bar, in a terminal, that counts pictures; a result may be a list of several."""
    with tqdm(total=total, desc=text, unit="picture", disable=None, delay=1, leave=False) as bar:
        for result in results:
            yield result
            bar.update(len(result) if isinstance(result, list) else 1)
