"""A published data set: what it is, and how its files come into a folder that is whole or not there."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cotrain.data._fetch import Pause, download, only_one
from cotrain.data._unpack import check_free, gunzip, unpack, written
from cotrain.errors import DataError

log = logging.getLogger(__name__)

FIGSHARE = "https://api.figshare.com/v2"


@dataclass(frozen=True)
class RemoteFile:
    """One file to fetch.

    Args:
        url: Where from.
        path: Where to, in the set's folder; of an archive only the name counts.
        checksum: As `download` takes it; "" where the origin tells none.
        size: Exact number of bytes; None: unknown.
        unpack: It is an archive of which the content is wanted.
    """

    url: str
    path: str
    checksum: str = ""
    size: int | None = None
    unpack: bool = False


Ask = Callable[[str], Any]  # a path of the figshare API to the JSON that it answers
Files = Callable[[Ask], tuple[RemoteFile, ...]]


@dataclass(frozen=True)
class PublicSet:
    """A published data set.

    Args:
        name: It is also the folder's, under the data folder.
        title: For lists.
        content: What it holds, in a sentence.
        licence: Its terms, as far as its origin states them.
        citation: What to cite.
        page: Where its origin describes it.
        config: How an experiment's data read it afterwards.
        holds: Names that the folder must have: what the reader needs.
        size: Bytes to download, about; 0: unknown.
        unpacked: Bytes of what is unpacked, about.
        files: Finds out what to fetch; None: it cannot be fetched.
        by_hand: How to get it, where it cannot be fetched.
    """

    name: str
    title: str
    content: str
    licence: str
    citation: str
    page: str
    config: str
    holds: tuple[str, ...]
    size: int = 0
    unpacked: int = 0
    files: Files | None = None
    by_hand: str = ""


def terms(public_set: PublicSet) -> str:
    """What to tell a user before anything is fetched: content, size, licence, what to cite."""
    size = f"{public_set.size / 1e6:,.0f} MB to download" if public_set.size else "size unknown before it is asked for"
    return (
        f"{public_set.title} ({size})\n{public_set.content}\nOrigin: {public_set.page}\n"
        f"Terms: {public_set.licence}\nPlease cite: {public_set.citation}"
    )


def fetch_set(
    public_set: PublicSet,
    folder: str | Path,
    *,
    progress: bool = False,
    accept: Callable[[str], bool] | None = None,
    api: str = FIGSHARE,
    pause: Pause = time.sleep,
) -> Path:
    """Fetch a set into its folder, which appears only when all is in it; interrupted, the next call goes on.

    Args:
        public_set: What to fetch.
        folder: The data folder. What is under way lies in `<name>.part` beside the set's own folder.
        progress: Show bars.
        accept: Is given the `terms` and answers whether to fetch; None: they are logged only.
        api: Where the figshare API answers.
        pause: As of `download`.

    Raises:
        DataError: The set cannot be fetched, its terms were not accepted, the disk is too small, or what came is not
            what was expected.
    """
    folder = Path(folder)
    place = folder / public_set.name
    if _is_there(public_set, place):
        return place
    if public_set.files is None:
        raise DataError(f"{public_set.title} cannot be fetched by a program. {public_set.by_hand} Put it into {place}.")
    told = terms(public_set)
    log.info("%s", told)
    if accept is not None and not accept(told):
        raise DataError(f"{public_set.title} was not fetched: its terms were not accepted.")
    with written(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with only_one(place), written(place):
        if not _is_there(public_set, place):
            staging = folder / f"{public_set.name}.part"
            _fetch_into(public_set, public_set.files, staging, progress, api, pause)
            os.sync()  # of files that are whole only in memory, none may be left empty by a power cut
            (staging / "set").replace(place)
            shutil.rmtree(staging)
    log.info("%s is in %s", public_set.title, place)
    return place


def _is_there(public_set: PublicSet, place: Path) -> bool:
    if not place.exists():
        return False
    if missing := [name for name in public_set.holds if not (place / name).exists()]:
        raise DataError(
            f"{place} exists, but lacks {', '.join(missing)} of {public_set.title}. "
            "Move or delete the folder, then fetch again, or put there what is missing."
        )
    return True


def _fetch_into(public_set: PublicSet, find: Files, staging: Path, progress: bool, api: str, pause: Pause) -> None:
    came, made = staging / "downloads", staging / "set"
    came.mkdir(parents=True, exist_ok=True)
    if made.exists():  # half made, when it was interrupted; the downloads are still there
        shutil.rmtree(made)

    def ask(path: str) -> Any:
        answer = came / "answer.json"
        answer.unlink(missing_ok=True)
        text = download(f"{api}/{path}", answer, pause=pause).read_bytes()
        try:
            return json.loads(text)
        except ValueError as error:
            raise DataError(f"{api}/{path} answers no JSON ({error}). Try again later.") from None
        finally:
            answer.unlink()

    files = find(ask)
    size = sum(file.size or 0 for file in files) if all(file.size for file in files) else public_set.size
    have = sum(path.stat().st_size for path in came.iterdir())
    check_free(staging, max(size - have, 0) + (public_set.unpacked or sum(f.size or 0 for f in files if f.unpack)))
    fetched = [
        download(file.url, came / _flat(file), size=file.size, checksum=file.checksum, progress=progress, pause=pause)
        for file in files
    ]
    made.mkdir()
    for file, path in sorted(zip(files, fetched, strict=True), key=lambda pair: not pair[0].unpack):
        target = made / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if not file.unpack:
            path.replace(target)
        elif path.name.endswith(".gz") and not path.name.endswith(".tar.gz"):
            gunzip(path, target.with_suffix(""))
        else:
            _place(unpack(path, staging / "set" / f".{path.name}", progress=progress), made, public_set.holds)
    if missing := [name for name in public_set.holds if not (made / name).exists()]:
        found = ", ".join(sorted(path.name for path in made.iterdir())[:10])
        raise DataError(
            f"{public_set.title} was fetched into {came}, but holds no {', '.join(missing)}; found: {found}. Its "
            f"origin has changed it: arrange the files by hand in a folder {staging.with_suffix('')}."
        )


def _flat(file: RemoteFile) -> str:
    return file.path.replace("/", "__")


def _place(unpacked: Path, made: Path, holds: tuple[str, ...]) -> None:
    """Move what an archive held to where the set needs it: archives differ in how many folders they wrap around it."""
    stem = unpacked.name.removeprefix(".").split(".")[0]
    content = unpacked
    while not any((content / name).exists() for name in holds):
        inside = [path for path in content.iterdir() if path.name != "__MACOSX" and path.name[0] != "."]
        if stem in holds or len(inside) != 1 or not inside[0].is_dir():
            content.replace(made / stem)
            break
        content = inside[0]
    else:
        for path in content.iterdir():
            if path.name == "__MACOSX":  # a Mac's notes on the files
                continue
            if (made / path.name).exists():
                raise DataError(f"Two archives of the set hold {path.name!r}. Unpack {unpacked.name[1:]} by hand.")
            path.replace(made / path.name)
    shutil.rmtree(unpacked, ignore_errors=True)
