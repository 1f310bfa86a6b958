"""Archives: unpacked whole or not at all, and never outside their folder."""

from __future__ import annotations

import contextlib
import errno
import gzip
import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from cotrain.errors import DataError

CHUNK = 1 << 18
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


def check_free(folder: Path, needed: int) -> None:
    """Refuse what cannot fit on the disk.

    Raises:
        DataError: The disk of the folder has fewer than `needed` bytes free.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"The disk of {folder} has {free / 1e9:.3f} GB free, needed are {needed / 1e9:.3f} GB. "
            "Make room, or set COTRAIN_DATA to a folder on another disk."
        )


@contextlib.contextmanager
def written(place: Path) -> Iterator[None]:
    """Errors of the disk as ours."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(
                f"The disk of {place.parent} is full (or its quota reached). What came is kept: make room, "
                "then run the same again."
            ) from None
        raise DataError(f"{place} cannot be written: {error.strerror or error}.") from None


def unpack(archive: str | Path, folder: str | Path, *, progress: bool = False) -> Path:
    """Unpack a zip or tar archive into a new folder, which appears only when all is in it.

    Args:
        archive: Its name tells what it is: .zip, .tar, .tar.gz, .tar.bz2, .tar.xz.
        folder: Must not exist yet, or be empty.
        progress: Show a bar.

    Raises:
        DataError: The archive is damaged, too big for the disk, or holds an entry that data have no need of: one that
            would land outside the folder, a link, a device.
    """
    archive, folder = Path(archive), Path(folder)
    if not archive.name.lower().endswith(ARCHIVES):
        raise DataError(f"{archive} cannot be unpacked: expected one of {', '.join(ARCHIVES)}.")
    with _unpacked(archive, folder) as temporary:
        temporary.mkdir(parents=True)
        read = _unzip if archive.name.lower().endswith(".zip") else _untar
        read(archive, temporary, progress)
    return folder


def gunzip(archive: str | Path, path: str | Path) -> Path:
    """Unpack a single file from `.gz`, as safely as `unpack`; raises as it does."""
    archive, path = Path(archive), Path(path)
    with _unpacked(archive, path) as temporary, gzip.open(archive) as source, temporary.open("wb") as target:
        while chunk := source.read(CHUNK):
            check_free(path.parent, len(chunk))
            target.write(chunk)
    return path


@contextlib.contextmanager
def _unpacked(archive: Path, place: Path) -> Iterator[Path]:
    """A temporary place beside the right one, moved there at the end; problems as DataError."""
    if not archive.is_file():
        raise DataError(f"There is no archive {archive}.")
    if place.is_file() or (place.is_dir() and any(place.iterdir())):
        raise DataError(f"{place} exists already. Move or delete it, then unpack again.")
    temporary = place.with_name(f".{place.name}.{os.getpid()}.unpacking")
    damaged = f"{archive} is damaged, or no such archive: {{}}. Delete it and fetch it again."
    try:
        yield temporary
        temporary.replace(place)
    except OSError as error:
        if error.errno is None:  # that of a decompressor
            raise DataError(damaged.format(error)) from None
        with written(place):
            raise
    except (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error) as error:
        raise DataError(damaged.format(str(error).partition(":\n")[0])) from None  # tarfile adds what it tried
    except (EOFError, NotImplementedError, RuntimeError, ValueError) as error:  # the last ones: encrypted, odd names
        raise DataError(damaged.format(error)) from None
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        temporary.unlink(missing_ok=True)


def _unzip(archive: Path, folder: Path, progress: bool) -> None:
    with zipfile.ZipFile(archive) as file:
        entries = file.infolist()
        for entry in entries:
            _check_entry(archive, entry.filename, plain=not stat.S_ISLNK(entry.external_attr >> 16))
        check_free(folder, sum(entry.file_size for entry in entries))  # zipfile reads no more than the sizes say
        for entry in tqdm(entries, desc=archive.name, unit=" files", disable=not progress):
            file.extract(entry, folder)


def _untar(archive: Path, folder: Path, progress: bool) -> None:
    bar = tqdm(desc=archive.name, unit=" files", disable=not progress)
    with tarfile.open(archive, "r:*") as file, bar:
        while (entry := file.next()) is not None:
            # links are refused, although tarfile's filter knows safe ones: its judgement was fooled before
            _check_entry(archive, entry.name, plain=entry.isfile() or entry.isdir())
            check_free(folder, entry.size)
            file.extract(entry, folder, filter="data")
            file.members = []  # type: ignore[attr-defined]  # else it remembers each of a million files
            bar.update()


def _check_entry(archive: Path, name: str, *, plain: bool) -> None:
    parts = re.split(r"[/\\]", name)
    if ".." in parts or not parts[0] or re.match(r"[A-Za-z]:", name) or not plain:
        problem = "would land outside its folder" if plain else "is a link or a device"
        raise DataError(f"{archive} holds {name!r}, which {problem}: nothing was unpacked. Do not trust this archive.")
