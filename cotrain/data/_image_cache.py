"""Pictures of files decoded once, into a memory map that later runs find again by the files' content."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
import uuid
import zipfile
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from cotrain.data._fetch import NO_LOCKS
from cotrain.data._image_facts import ImageFacts, facts_of, hashes_of
from cotrain.data._image_files import ImageFiles, Preparation, picture
from cotrain.data._image_rows import ImageRows, MappedImages, Stack
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
        images = np.empty((len(rows), *self.shape[1:]), np.uint8)
        for place, row in enumerate(rows.tolist()):
            found = picture(self.paths[row], self.preparation)
            if found.shape != self.shape[1:]:
                raise DataError(f"{self.paths[row]} has changed: its pixels were {self.shape[1:]}, are {found.shape}.")
            images[place] = found
        return torch.from_numpy(images)


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
        damaged: "stop" at the first file that holds no picture, or "skip" such files with a warning. A file that is
            missing, or may not be read, always stops.
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
    held, faults, mapped = _held(entry, storage)
    row_of_path = held["row"]  # -1 for a file that could not be read
    if (row_of_path < 0).any():
        _report_damaged(paths, faults, damaged)
    kept = np.array([i for i, path in enumerate(files.paths) if row_of_path[place[path]] >= 0], np.int64)
    rows = torch.from_numpy(row_of_path[[place[files.paths[i]] for i in kept]].astype(np.int64))
    facts = ImageFacts(held["digests"], held["sums"], held["hashes"])
    stack: Stack
    if mapped is not None:
        stack = MappedImages(torch.from_numpy(mapped))
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
        reader = b"npy" if path.suffix.lower() == ".npy" else b""  # other files are told apart by their bytes
        return hashlib.blake2b(path.read_bytes(), digest_size=16, person=reader).digest()

    total = hashlib.blake2b(digest_size=16)
    try:
        for part in _bar(in_order(digest, paths, workers=THREADS), "hashing pictures", len(paths)):
            total.update(part)
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}.") from None
    with _disk_errors(cache):
        signature.parent.mkdir(parents=True, exist_ok=True)
        own = signature.with_suffix(f".{uuid.uuid4().hex}")
        try:
            own.write_text(total.hexdigest())
            own.replace(signature)
        finally:
            own.unlink(missing_ok=True)
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
    """Decode all files into a folder beside, and move what it holds into the entry: nobody sees half of it."""
    own = entry.with_name(f".{entry.name}")
    pieces = [paths[i : i + PIECE] for i in range(0, len(paths), PIECE)]
    row_of_path = np.full(len(paths), -1, np.int64)
    faults: dict[int, tuple[str, str]] = {}
    facts: list[ImageFacts] = []
    hashes: list[NDArray[np.uint64]] = []
    done = _bar(in_order(_decoder(preparation), pieces, workers=THREADS), "decoding", len(paths))
    # closed here: an error that somebody keeps would keep the threads
    with _disk_errors(own), _locked(own.with_suffix(".lock")), contextlib.closing(done):
        if _is_complete(entry, storage):  # another process was quicker
            return
        shutil.rmtree(own, ignore_errors=True)  # of a process that was killed
        own.mkdir()
        try:
            pixels: NDArray[np.uint8] | None = None
            shape: tuple[int, ...] = ()
            row, number = 0, 0
            for results in done:
                for found in results:
                    if isinstance(found, DataError):
                        if damaged == "stop":
                            raise DataError(f'{found} Repair or remove it, or set damaged="skip".')
                        faults[number] = str(paths[number]), str(found)
                    else:
                        if not shape:
                            shape = found.shape
                            pixels = (
                                allocated(own / "images.npy", (len(paths), *shape)) if storage == "memory_map" else None
                            )
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
                    images = torch.from_numpy(np.stack(good))
                    facts.append(facts_of(images))
                    hashes.append(hashes_of(images))
            if not facts:
                raise DataError(f"None of {len(paths)} pictures can be read; the first: {faults[0][1]}")
            if isinstance(pixels, np.memmap):
                pixels.flush()
            (own / "damaged.json").write_text(json.dumps(faults))
            np.savez(
                own / "facts.npz",
                row=row_of_path,
                shape=np.array(shape),
                digests=np.concatenate([piece.digests for piece in facts]),
                sums=np.concatenate([piece.sums for piece in facts]),
                hashes=np.concatenate(hashes),
            )
            entry.mkdir(exist_ok=True)
            for name in ("damaged.json", "images.npy", "facts.npz"):  # the last one makes the entry complete
                if (own / name).exists():
                    (own / name).replace(entry / name)
        finally:
            shutil.rmtree(own, ignore_errors=True)


def _held(entry: Path, storage: str) -> tuple[dict[str, Any], dict[str, tuple[str, str]], NDArray[np.uint8] | None]:
    """Facts, faults and pixels of an entry."""
    try:
        with np.load(entry / "facts.npz", allow_pickle=False) as file:
            held = {name: file[name] for name in ("row", "shape", "digests", "sums", "hashes")}
        faults = json.loads((entry / "damaged.json").read_text())
        # copy-on-write: torch warns of arrays that it could not write to
        mapped = np.load(entry / "images.npy", mmap_mode="c") if storage == "memory_map" else None
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{entry}, decoded pictures, cannot be read: {error}. Delete it.") from None
    return held, faults, mapped


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


def allocated(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.uint8]]:
    """A memory map whose disk space is taken now: a disk that is full later would kill the process by SIGBUS."""
    mapped = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return mapped


def _report_damaged(paths: list[Path], faults: dict[str, tuple[str, str]], damaged: str) -> None:
    # the same files may have stood in another folder when they were decoded
    texts = [text.replace(old, str(paths[int(number)])) for number, (old, text) in faults.items()]
    shown, count = "; ".join(texts[:DAMAGED_SHOWN]), len(texts)
    if damaged == "stop":
        raise DataError(
            f"{count} of {len(paths)} pictures cannot be read: {shown}. Repair them, or skip damaged files."
        )
    log.warning("%d of %d pictures cannot be read and are skipped: %s", count, len(paths), shown)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the lock of one that was killed is free."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another process decodes these pictures: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            log.warning("the file system of %s has no locks: do not decode there from two processes at once", path)
        yield


@contextlib.contextmanager
def _disk_errors(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"The image cache {place} cannot be written: {error.strerror or error}. Free the disk, or name another "
            "folder with COTRAIN_CACHE."
        ) from None


def _bar(results: Iterable[Any], text: str, total: int) -> Generator[Any]:
    """The results, with a bar, in a terminal, that counts pictures; a result may be a list of several."""
    with tqdm(total=total, desc=text, unit="picture", disable=None, delay=1, leave=False) as bar:
        for result in results:
            yield result
            bar.update(len(result) if isinstance(result, list) else 1)
