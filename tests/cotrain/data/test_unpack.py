"""Archives are unpacked whole or not at all, and never outside their folder."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from web_site import CONTENT, names

from cotrain.data import _unpack
from cotrain.data._unpack import gunzip, unpack
from cotrain.errors import DataError


def tar(path: Path, *entries: tuple[str, bytes | None], mode: str = "w", **changes: Any) -> Path:
    with tarfile.open(path, mode) as file:
        for name, content in entries:
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            entry.size = len(content or b"")
            for change, value in changes.items():
                setattr(entry, change, value)
            file.addfile(entry, io.BytesIO(content or b""))
    return path


def zipped(path: Path, *names: str, kind: int = stat.S_IFREG) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in names:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (kind | 0o644) << 16
            file.writestr(entry, b"content")
    return path


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"])
@pytest.mark.parametrize("progress", [False, True])
def test_archives_are_unpacked(tmp_path, ending, progress, capsys):
    place = tmp_path / f"a{ending}"
    if ending == ".zip":
        zipped(place, "top/one.txt", "top/deep/two.txt")
    else:
        mode = {".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}.get(ending, "w")
        tar(place, ("./top", None), ("./top/one.txt", b"content"), ("top/deep/two.txt", b"content"), mode=mode)
    folder = unpack(place, tmp_path / "to" / "here", progress=progress)
    assert (folder / "top/deep/two.txt").read_bytes() == b"content" == (folder / "top/one.txt").read_bytes()
    assert names(folder.parent) == ["here"] and names(folder) == ["top"]
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(folder.parent.stat().st_mode)  # others may read it
    assert ("a" in capsys.readouterr().err) == progress


def test_a_single_file_is_unpacked(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(CONTENT))
    assert gunzip(tmp_path / "a.gz", tmp_path / "a").read_bytes() == CONTENT
    (tmp_path / "b.gz").write_bytes(gzip.compress(CONTENT)[:-20])
    with pytest.raises(DataError, match="is damaged"):
        gunzip(tmp_path / "b.gz", tmp_path / "b")
    with pytest.raises(DataError, match="exists already"):
        gunzip(tmp_path / "a.gz", tmp_path / "a")
    assert names(tmp_path) == ["a", "a.gz", "b.gz"]


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/tmp/evil", "..", "a\\..\\..\\evil", "C:\\evil", "\\evil"]
)
@pytest.mark.parametrize("ending", [".zip", ".tar"])
def test_entries_that_leave_the_folder_are_refused(tmp_path, name, ending):
    place = tmp_path / f"a{ending}"
    if ending == ".zip":
        zipped(place, "good", name)
    else:
        tar(place, ("good", b"x"), (name, b"x"))
    with pytest.raises(DataError, match=rf"a{ending} holds {re.escape(repr(name))}, which would land outside"):
        unpack(place, tmp_path / "to" / "here")
    assert names(tmp_path) in ([f"a{ending}", "to"], [f"a{ending}"]) and not list(tmp_path.glob("to/*"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    tar(tmp_path / "a.tar", ("link", b""), type=kind, linkname="../../outside")
    with pytest.raises(DataError, match=r"holds 'link', which is a link or a device: nothing was unpacked"):
        unpack(tmp_path / "a.tar", tmp_path / "here")
    zipped(tmp_path / "a.zip", "link", kind=stat.S_IFLNK)
    with pytest.raises(DataError, match=r"holds 'link', which is a link"):
        unpack(tmp_path / "a.zip", tmp_path / "here")
    assert names(tmp_path) == ["a.tar", "a.zip"]


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_cut_archives_leave_nothing(tmp_path, ending, share):
    place, noise = tmp_path / f"a{ending}", os.urandom(50_000)
    if ending == ".zip":
        with zipfile.ZipFile(place, "w") as file:
            file.writestr("one", noise)
    else:
        tar(place, ("one", noise), mode={".tar": "w"}.get(ending, f"w:{ending[5:]}"))
    place.write_bytes(place.read_bytes()[: int(place.stat().st_size * min(share, 0.7 if ending == ".tar" else 1))])
    with pytest.raises(DataError, match=r"is damaged, or no such archive: .*Delete it and fetch it again"):
        unpack(place, tmp_path / "here")
    assert names(tmp_path) == [f"a{ending}"]


def test_damaged_content_leaves_nothing(tmp_path):
    whole = zipped(tmp_path / "a.zip", *"abc").read_bytes()
    (tmp_path / "a.zip").write_bytes(whole[:31] + b"\xff\xff\xff" + whole[34:])
    (tmp_path / "b.tar.gz").write_bytes(b"<html>")
    (tmp_path / "c.tar.bz2").write_bytes(bz2.compress(b"no archive" * 100))
    (tmp_path / "d.tar.xz").write_bytes(lzma.compress(b"no archive" * 100)[:-4] + b"oops")
    for name in names(tmp_path):
        with pytest.raises(DataError, match="is damaged, or no such archive"):
            unpack(tmp_path / name, tmp_path / "here")
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize("ending", [".zip", ".tar.gz", ".gz"])
def test_what_would_fill_the_disk_is_refused(tmp_path, monkeypatch, ending):
    place = tmp_path / f"a{ending}"
    if ending == ".zip":
        with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("bomb", bytes(5_000_000))
    elif ending == ".gz":
        place.write_bytes(gzip.compress(bytes(5_000_000)))
    else:
        tar(place, ("bomb", bytes(5_000_000)), mode="w:gz")
    assert place.stat().st_size < 10_000
    monkeypatch.setattr(_unpack.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**6, 0, 200_000))
    with pytest.raises(DataError, match=r"0\.000 GB free, needed are 0\.00"):
        (gunzip if ending == ".gz" else unpack)(place, tmp_path / "here")
    assert names(tmp_path) == [f"a{ending}"]


def test_unpacking_does_not_overwrite(tmp_path):
    zipped(tmp_path / "a.zip", "new")
    (tmp_path / "here").mkdir()
    unpack(tmp_path / "a.zip", tmp_path / "here")  # an empty folder is no loss
    with pytest.raises(DataError, match=r"here exists already\. Move or delete it"):
        unpack(tmp_path / "a.zip", tmp_path / "here")
    with pytest.raises(DataError, match=r"cannot be unpacked: expected one of \.zip"):
        unpack(tmp_path / "a.rar", tmp_path / "there")
    with pytest.raises(DataError, match=r"There is no archive .*b\.zip"):
        unpack(tmp_path / "b.zip", tmp_path / "there")
