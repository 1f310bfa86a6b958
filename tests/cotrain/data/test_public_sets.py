"""Published sets come whole or not at all, with their terms told; the catalogue fits what reads it."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
import logging
import os
import pickle
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torchvision
import yaml
from web_site import Page, Pauses, Site, names

from cotrain.data import _unpack
from cotrain.data._fetch_set import fetch_set, terms
from cotrain.data._public_sets import COWLEY, PUBLIC_SETS, PublicSet, RemoteFile, fetch
from cotrain.errors import DataError
from cotrain.resolve import read_config


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(os, "sync", lambda: None)  # it waits for all disks of the machine
    with Site() as site:
        yield site


def packed(**files: bytes) -> bytes:
    """A zip archive; of names, `__` is a slash."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name if "/" in name else name.replace("__", "/"), content)
    return buffer.getvalue()


def tarred(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name.replace("__", "/"))
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def some_set(site: Site, *files: RemoteFile, holds=("data",), **more) -> PublicSet:
    placed = tuple(dataclasses.replace(file, url=site.url(file.url)) for file in files)
    return PublicSet(
        "some", "Some set", "Things.", "CC0", "Me (2024)", "https://a.org", "", holds, files=lambda ask: placed, **more
    )


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


# the machinery


def test_an_archive_becomes_a_folder(site, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    site.pages["/a.zip"] = Page(packed(data__one=b"1", data__two=b"2"))
    chosen = some_set(site, RemoteFile("a.zip", "a.zip", unpack=True), size=10**6)
    place = fetch_set(chosen, tmp_path)
    assert place == tmp_path / "some" and names(tmp_path) == ["some"] and names(place) == ["data"]
    assert (place / "data/two").read_bytes() == b"2"
    assert "Some set (1 MB to download)" in caplog.text and "Terms: CC0\nPlease cite: Me (2024)" in caplog.text
    assert fetch_set(chosen, tmp_path) == place and len(site.seen) == 1  # nothing is asked again


def test_interrupted_between_files_only_the_rest_comes(site, tmp_path):
    site.pages = {"/a": Page(b"first"), "/b": Page(b"second" * 1000, cuts=[3000])}
    chosen = some_set(site, RemoteFile("a", "a"), RemoteFile("b", "in/b"), holds=("a", "in/b"))
    site.pages["/b"].failures = [404]
    with pytest.raises(DataError, match=r"/b answers 404"):
        fetch_set(chosen, tmp_path)
    assert names(tmp_path) == ["some.part"]
    (tmp_path / "some.part/set").mkdir()  # what a kill at the worst moment leaves
    (tmp_path / "some.part/set/half").touch()
    place = fetch_set(chosen, tmp_path, pause=Pauses())
    assert [seen.path for seen in site.seen] == ["/a", "/b", "/b", "/b"] and site.seen[-1].sent == 3000
    assert names(place) == ["a", "in"] and (place / "in/b").read_bytes() == b"second" * 1000
    assert names(tmp_path) == ["some"]


def test_terms_that_are_not_accepted_stop_all(site, tmp_path):
    told = []

    def accept(text: str) -> bool:
        told.append(text)
        return len(told) > 1

    site.pages["/data"] = Page(b"x")
    chosen = some_set(site, RemoteFile("data", "data"))
    with pytest.raises(DataError, match="terms were not accepted"):
        fetch_set(chosen, tmp_path, accept=accept)
    assert told == [terms(chosen)] and site.seen == [] and names(tmp_path) == []
    fetch_set(chosen, tmp_path, accept=accept)


def test_the_disk_is_looked_at_first(site, tmp_path, monkeypatch):
    chosen = some_set(site, RemoteFile("data", "data"), size=600, unpacked=500)
    monkeypatch.setattr(_unpack.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(2000, 0, 1000))
    with pytest.raises(DataError, match=r"0\.000 GB free, needed are 0\.000 GB\. Make room, or set COTRAIN_DATA"):
        fetch_set(chosen, tmp_path)
    assert site.seen == []


def test_a_folder_that_lacks_something_is_not_touched(site, tmp_path):
    (tmp_path / "some").mkdir()
    with pytest.raises(DataError, match=r"some exists, but lacks data of Some set\. Move or delete"):
        fetch_set(some_set(site, RemoteFile("data", "data")), tmp_path)
    assert site.seen == [] and names(tmp_path) == ["some"]


def test_other_content_than_expected_is_told(site, tmp_path):
    site.pages["/a.zip"] = Page(packed(other=b"1", things=b"2"))
    with pytest.raises(DataError, match=r"but holds no data; found: a\. Its origin has changed it: arrange"):
        fetch_set(some_set(site, RemoteFile("a.zip", "a.zip", unpack=True)), tmp_path)
    assert not (tmp_path / "some").exists()


def test_two_archives_with_the_same_name_inside(site, tmp_path):
    site.pages = {"/a.zip": Page(packed(data=b"1")), "/b.zip": Page(packed(data=b"2"))}
    files = [RemoteFile(name, name, unpack=True) for name in ("a.zip", "b.zip")]
    with pytest.raises(DataError, match=r"Two archives of the set hold 'data'\. Unpack b\.zip by hand"):
        fetch_set(some_set(site, *files), tmp_path)


def test_names_that_do_not_exist(tmp_path):
    with pytest.raises(DataError, match=r"No public data set is called 'cifar11'\. Did you mean 'cifar10'\?"):
        fetch("cifar11", tmp_path)


@pytest.mark.parametrize(("name", "text"), [("imagenet", "image-net.org"), ("majaj2015_it", "IT_data.h5")])
def test_what_cannot_be_fetched_tells_how_to_get_it(tmp_path, name, text):
    with pytest.raises(DataError, match=rf"cannot be fetched by a program\. .*{text}.* Put it into .*/{name}\."):
        fetch(name, tmp_path)
    for part in PUBLIC_SETS[name].holds:
        (tmp_path / name / part).mkdir(parents=True)
    assert fetch(name, tmp_path) == tmp_path / name  # put there by hand


# figshare


def figshare(site: Site, archives: dict[str, bytes], **changes) -> str:
    listed = []
    for name, content in archives.items():
        site.pages[f"/files/{name}"] = Page(content)
        entry = {"name": name, "size": len(content), "download_url": site.url(f"files/{name}"), "is_link_only": False}
        listed.append(entry | {"computed_md5": md5(content), "supplied_md5": ""} | changes)
    answer = {"files": listed[:10], "license": {"name": "CC BY 4.0", "url": "https://cc.org"}}
    site.pages["/v2/articles/23060540"] = Page(json.dumps(answer).encode())
    site.pages["/v2/articles/23060540/files"] = Page(json.dumps(listed).encode())
    return site.url("v2")


PARTS = {"images__000001.png": b"png", "train__s1__responses.csv": b"1", "test__s1__responses.csv": b"2"}


@pytest.mark.parametrize("wrap", ["", "v4_data__", "a__b__"])
def test_figshare_files_land_where_the_reader_looks(site, tmp_path, wrap, caplog):
    caplog.set_level(logging.INFO)
    archive = packed(**{wrap + name: content for name, content in PARTS.items()}, **{"__MACOSX/junk": b""})
    place = fetch("cadena2024_v4", tmp_path, api=figshare(site, {"v4.zip": archive, "README.md": b"hello"}))
    assert (place / "images/000001.png").read_bytes() == b"png"
    assert (place / "train/s1/responses.csv").exists() and (place / "test/s1/responses.csv").exists()
    assert (place / "README.md").read_bytes() == b"hello" and names(tmp_path) == ["cadena2024_v4"]
    assert not (place / "__MACOSX").exists()
    assert "licence CC BY 4.0 https://cc.org" in caplog.text


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_archive_for_each_part(site, tmp_path, wrapped):
    archives = {}
    for name, content in PARTS.items():
        part, _, inside = name.partition("__")
        archives[f"{part}.zip"] = packed(**{name if wrapped else inside: content})
    place = fetch("cadena2024_v4", tmp_path, api=figshare(site, archives))
    assert names(place) == ["images", "test", "train"] and names(place / "train") == ["s1"]


def test_articles_of_many_files_are_asked_for_all(site, tmp_path):
    files = {f"notes{number}.txt": b"%d" % number for number in range(20)} | {"all.tar.gz": tarred(**PARTS)}
    place = fetch("cadena2024_v4", tmp_path, api=figshare(site, files))
    assert len(names(place)) == 23
    assert site.seen[1].path == "/v2/articles/23060540/files?page_size=1000"


def test_figshare_checksums_count(site, tmp_path):
    api = figshare(site, {"v4.zip": packed(**PARTS)}, computed_md5="", supplied_md5="0" * 32)
    with pytest.raises(DataError, match=r"v4\.zip came as another file: expected md5:0{32}"):
        fetch("cadena2024_v4", tmp_path, api=api)


@pytest.mark.parametrize("changes", [{"name": "../evil.zip"}, {"name": ".hidden"}, {"is_link_only": True}])
def test_figshare_names_cannot_leave_the_folder(site, tmp_path, changes):
    with pytest.raises(DataError, match="which is no plain file"):
        fetch("cadena2024_v4", tmp_path, api=figshare(site, {"v4.zip": b""}, **changes))


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"<html>", "answers no JSON"),
        (b"[1]", "in a form that is not understood"),
        (b'{"files": [{}]}', r"not understood \(KeyError\('name'\)\)\. Fetch it by hand from https://doi.org/10.6084"),
    ],
)
def test_odd_answers_of_figshare(site, tmp_path, answer, text):
    site.pages["/v2/articles/23060540"] = Page(answer)
    with pytest.raises(DataError, match=text):
        fetch("cadena2024_v4", tmp_path, api=site.url("v2"))


def test_figshare_is_asked_again_after_a_failure(site, tmp_path):
    api, pauses = figshare(site, {"v4.zip": packed(**PARTS)}), Pauses()
    site.pages["/v2/articles/23060540"].failures = [503]
    fetch("cadena2024_v4", tmp_path, api=api, pause=pauses)
    assert pauses == [1]


# torchvision


def test_cifar10_is_where_torchvision_looks(site, tmp_path, monkeypatch):
    cifar = torchvision.datasets.CIFAR10
    batch = pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]})
    meta = pickle.dumps({"label_names": ["cat", "dog"]})
    files = {name: batch for name, _ in cifar.train_list + cifar.test_list} | {"batches.meta": meta}
    archive = tarred(**{f"cifar-10-batches-py__{name}": content for name, content in files.items()})
    site.pages["/c.tar.gz"] = Page(archive)
    monkeypatch.setattr(cifar, "url", site.url("c.tar.gz"))
    monkeypatch.setattr(cifar, "tgz_md5", md5(archive))
    monkeypatch.setattr(cifar, "train_list", [[name, md5(batch)] for name, _ in cifar.train_list])
    monkeypatch.setattr(cifar, "test_list", [[name, md5(batch)] for name, _ in cifar.test_list])
    monkeypatch.setattr(cifar, "meta", cifar.meta | {"md5": md5(meta)})
    root = fetch("cifar10", tmp_path)
    assert len(cifar(root)) == 10 and cifar(root, train=False).classes == ["cat", "dog"]


def test_fashion_mnist_is_where_torchvision_looks(site, tmp_path, monkeypatch):
    fashion, resources = torchvision.datasets.FashionMNIST, []
    for name, _ in fashion.resources:
        images = "idx3" in name
        head = bytes([0, 0, 8, 3 if images else 1]) + b"".join(
            n.to_bytes(4, "big") for n in (5, 28, 28)[: 2 * images + 1]
        )
        content = gzip.compress(head + bytes(5 * 784 if images else 5))
        site.pages[f"/m/{name}"] = Page(content)
        resources.append((name, md5(content)))
    monkeypatch.setattr(fashion, "mirrors", [site.url("m/")])
    monkeypatch.setattr(fashion, "resources", resources)
    root = fetch("fashion_mnist", tmp_path)
    assert len(fashion(root)) == 5 == len(fashion(root, train=False))


def test_svhn_and_stl10_are_where_torchvision_looks(site, tmp_path, monkeypatch):
    svhn, stl = torchvision.datasets.SVHN, torchvision.datasets.STL10
    site.pages = {"/train": Page(b"train"), "/test": Page(b"test"), "/s.tgz": Page(tarred(stl10_binary__test_X=b"x"))}
    split_list = {part: [site.url(part), f"{part}_32x32.mat", md5(part.encode())] for part in ("train", "test")}
    monkeypatch.setattr(svhn, "split_list", split_list)
    assert names(fetch("svhn", tmp_path)) == ["test_32x32.mat", "train_32x32.mat"]
    monkeypatch.setattr(stl, "url", site.url("s.tgz"))
    monkeypatch.setattr(stl, "tgz_md5", md5(site.pages["/s.tgz"].content))
    assert names(fetch("stl10", tmp_path)) == [stl.base_folder] == list(PUBLIC_SETS["stl10"].holds)


# the catalogue


def no_answer(path: str):
    raise AssertionError(path)


@pytest.mark.parametrize("name", PUBLIC_SETS)
def test_entries_are_complete(name):
    entry = PUBLIC_SETS[name]
    assert entry.name == name and all([entry.title, entry.content, entry.licence, entry.config, entry.holds])
    assert all(text in terms(entry) for text in (entry.title, entry.licence, entry.citation, entry.page))
    assert (entry.files is None) == bool(entry.by_hand)
    if entry.config.startswith("{"):
        config = read_config(yaml.safe_load(entry.config))
        assert (config.path or config.name).split("/")[0] == name


@pytest.mark.parametrize("name", [n for n, s in PUBLIC_SETS.items() if s.files and not n.startswith("cadena")])
def test_all_that_has_a_fixed_address_has_a_checksum(name):
    files = PUBLIC_SETS[name].files(no_answer)
    assert files and all(file.checksum and file.url.startswith("http") for file in files)
    if all(file.size for file in files):
        assert sum(file.size for file in files) == PUBLIC_SETS[name].size


@pytest.mark.skipif("COTRAIN_TEST_DATA" not in os.environ, reason="COTRAIN_TEST_DATA names no folder of real data")
def test_cowley_checksums_are_those_of_the_files():
    folder = Path(os.environ["COTRAIN_TEST_DATA"]) / "cowley_v4"
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing")
    files = PUBLIC_SETS["cowley2023_v4"].files(no_answer)
    assert len(files) == sum(len(rows.strip().splitlines()) for rows in COWLEY.values()) == 17
    for file in files:
        content = (folder / file.path).read_bytes()
        assert (len(content), "sha256:" + hashlib.sha256(content).hexdigest()) == (file.size, file.checksum)
