"""Pictures are decoded once: right, found again by content, and never half written, whatever happens in between."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cotrain.data import ImageFiles, Preparation, decode, image_facts
from cotrain.data import _image_cache as cache_module
from cotrain.errors import DataError
from cotrain.settings import cache_folder

SMALL = Preparation(size=6)
STORAGES = ["memory_map", "files"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """The cache is a folder of the test."""
    monkeypatch.setenv("COTRAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "images"


@pytest.fixture
def paths(tmp_path) -> list[Path]:
    """Eight pictures in several formats and sizes."""
    random, folder = np.random.default_rng(0), tmp_path / "pictures"
    folder.mkdir()
    found = [folder / f"{number}.{ending}" for number, ending in enumerate(["png", "jpg", "bmp", "png"] * 2)]
    for number, path in enumerate(found):
        Image.fromarray(random.integers(0, 256, (8 + number, 9, 3), np.uint8)).save(path)
    return found


@pytest.fixture
def decoded_files(monkeypatch) -> list[Path]:
    """Which files were decoded, in the order of that."""
    seen, real = [], cache_module.picture

    def noted(path, preparation):
        seen.append(path)
        return real(path, preparation)

    monkeypatch.setattr(cache_module, "picture", noted)
    return seen


def naive(paths, size: int = 6) -> torch.Tensor:
    found = []
    for path in paths:
        with Image.open(path) as image:
            scaled = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
        found.append(np.asarray(scaled).transpose(2, 0, 1))
    return torch.from_numpy(np.stack(found))


def entries(cache: Path) -> list[str]:
    """Names of complete entries; nothing else may look like one."""
    found = [path for path in cache.iterdir() if path.name != "signatures" and not path.name.startswith(".")]
    assert all((path / "facts.npz").is_file() for path in found)
    return sorted(path.name for path in found)


def assert_no_half_entry(cache: Path) -> None:
    assert not cache.is_dir() or entries(cache) == []
    left = [path.name for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert [name for name in left if len(name) != 32] == []  # hashes of files are whole, and stay


@pytest.mark.parametrize("storage", STORAGES)
def test_pixels_are_those_of_a_naive_loop_in_the_order_of_the_files(paths, storage):
    mixed = [paths[number] for number in (5, 0, 7, 0, 2, 5)]
    found = decode(ImageFiles(tuple(mixed)), SMALL, storage=storage)
    assert torch.equal(found.images[:], naive(mixed))
    assert found.kept.tolist() == list(range(6)) and found.kept.dtype == np.int64
    expected, held = image_facts(naive(mixed)), image_facts(found.images)
    np.testing.assert_array_equal(held.digests, expected.digests)
    np.testing.assert_array_equal(held.sums, expected.sums)


def test_equal_paths_are_decoded_once_and_a_second_call_decodes_nothing(paths, decoded_files, cache):
    files = ImageFiles((*paths, *reversed(paths)))
    first = decode(files, SMALL)
    assert sorted(decoded_files) == sorted(paths)
    second = decode(files, SMALL)
    assert len(decoded_files) == 8
    assert torch.equal(first.images[:], second.images[:])
    assert len(entries(cache)) == 1


def test_files_decode_anew_whenever_they_are_read_and_a_memory_map_never(paths, decoded_files):
    mapped, filed = (decode(ImageFiles(tuple(paths)), SMALL, storage=storage).images for storage in STORAGES)
    decoded_files.clear()
    assert torch.equal(mapped[2:4], filed[2:4])
    assert decoded_files == paths[2:4]
    image_facts(filed)
    assert len(decoded_files) == 2


@pytest.mark.parametrize(("first", "second"), [STORAGES, STORAGES[::-1]])
def test_both_ways_of_storage_share_one_entry(paths, cache, first, second):
    one, other = (decode(ImageFiles(tuple(paths)), SMALL, storage=storage).images for storage in (first, second))
    assert torch.equal(one[:], naive(paths)) and torch.equal(other[:], naive(paths))
    np.testing.assert_array_equal(one.known.digests, other.known.digests)
    np.testing.assert_array_equal(one.known.sums, other.known.sums)
    assert len(entries(cache)) == 1
    grey = [decode(ImageFiles(tuple(paths)), Preparation(size=6, channels=1), storage=storage) for storage in STORAGES]
    assert torch.equal(grey[0].images[:], grey[1].images[:])


@pytest.mark.parametrize("named", [False, True])
def test_the_same_bytes_in_another_folder_are_found(paths, decoded_files, tmp_path, named):
    decode(ImageFiles(tuple(paths)), SMALL)
    decoded_files.clear()
    copies = [tmp_path / "other" / (f"renamed_{path.name}" if named else path.name) for path in paths]
    (tmp_path / "other").mkdir()
    for path, copy in zip(paths, copies, strict=True):
        shutil.copy(path, copy)
    found = decode(ImageFiles(tuple(copies)), SMALL)
    assert decoded_files == []
    assert torch.equal(found.images[:], naive(paths))


def test_a_changed_file_and_another_order_are_not_taken_for_the_same(paths, decoded_files, cache):
    decode(ImageFiles(tuple(paths)), SMALL)
    paths[3].write_bytes(paths[6].read_bytes() + b"\0")
    assert torch.equal(decode(ImageFiles(tuple(paths)), SMALL).images[:], naive(paths))
    assert torch.equal(decode(ImageFiles(tuple(paths[::-1])), SMALL).images[:], naive(paths[::-1]))
    assert len(decoded_files) == 24 and len(entries(cache)) == 3


def test_a_change_that_keeps_the_size_is_seen_by_the_time(paths):
    before = paths[2].read_bytes()
    decode(ImageFiles(tuple(paths)), SMALL)
    paths[2].write_bytes(before[:-40] + bytes(40))
    os.utime(paths[2], ns=(1, 1))
    assert torch.equal(decode(ImageFiles(tuple(paths)), SMALL).images[:], naive(paths))


def test_each_preparation_has_its_own_entry(paths, cache):
    preparations = [
        SMALL,
        Preparation(size=7),
        Preparation(size=6, fit="crop"),
        Preparation(size=6, channels=1),
        Preparation(size=6, crop=(1, 0, 0, 0)),
        Preparation(size=6, crop=(0, 1, 0, 0)),
    ]
    found = [decode(ImageFiles(tuple(paths)), preparation).images[:] for preparation in preparations]
    assert len({tuple(image.flatten().tolist()) for image in found}) == len(entries(cache)) == 6


def test_an_array_is_not_taken_for_a_damaged_picture_of_the_same_bytes(paths, tmp_path):
    array, named_png = tmp_path / "some.npy", tmp_path / "some.png"
    np.save(array, np.ones((6, 6), np.uint8))
    shutil.copy(array, named_png)
    assert len(decode(ImageFiles((paths[0], named_png)), SMALL, damaged="skip").images) == 1
    assert len(decode(ImageFiles((paths[0], array)), SMALL).images) == 2


def test_pictures_of_several_sizes_need_a_size(paths, cache):
    with pytest.raises(DataError, match=r"1\.jpg is 9x9 pixels, those before it 8x9\. Give a size that all are scaled"):
        decode(ImageFiles(tuple(paths)), Preparation())
    assert_no_half_entry(cache)
    assert decode(ImageFiles((paths[0], paths[0])), Preparation()).images.shape == (2, 3, 8, 9)


def test_no_files_are_refused():
    with pytest.raises(DataError, match="There are no image files to decode"):
        decode(ImageFiles(()), SMALL)


def damage(paths: list[Path]) -> None:
    paths[1].write_bytes(paths[1].read_bytes()[:300])
    paths[4].write_text("no picture")
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(paths[7])


@pytest.mark.parametrize("storage", STORAGES)
def test_damaged_files_are_skipped_with_a_warning_and_rows_stay_aligned(paths, storage, caplog):
    damage(paths)
    for _ in range(2):  # the second time from the cache
        caplog.clear()
        found = decode(ImageFiles((*paths, paths[0])), SMALL, storage=storage, damaged="skip")
        assert found.kept.tolist() == [0, 2, 3, 5, 6, 8]
        assert torch.equal(found.images[:], naive([(*paths, paths[0])[row] for row in found.kept]))
        assert "3 of 8 pictures cannot be read and are skipped: " in caplog.text
        assert all(str(paths[number]) in caplog.text for number in (1, 4, 7))
        np.testing.assert_array_equal(image_facts(found.images).digests, image_facts(found.images[:]).digests)


def test_what_is_skipped_once_still_stops_later(paths, cache):
    damage(paths)
    with pytest.raises(DataError, match=r"1\.jpg cannot be read"):
        decode(ImageFiles(tuple(paths)), SMALL)
    assert_no_half_entry(cache)
    decode(ImageFiles(tuple(paths)), SMALL, damaged="skip")
    with pytest.raises(DataError, match=r"3 of 8 pictures cannot be read: .*1\.jpg cannot .*\. Repair them, or skip"):
        decode(ImageFiles(tuple(paths)), SMALL)


def test_an_error_that_is_kept_keeps_no_threads(paths, monkeypatch):
    monkeypatch.setattr(cache_module, "PIECE", 1)
    damage(paths)
    with pytest.raises(DataError) as caught:
        decode(ImageFiles(tuple(paths)), SMALL)
    assert caught.value.__traceback__ is not None
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("cotrain-data")]


def test_damaged_files_of_a_copied_folder_are_named_where_they_are(paths, tmp_path, caplog):
    damage(paths)
    decode(ImageFiles(tuple(paths)), SMALL, damaged="skip")
    moved = shutil.move(paths[0].parent, tmp_path / "moved")
    with pytest.raises(DataError) as caught:
        decode(ImageFiles(tuple(Path(moved) / path.name for path in paths)), SMALL)
    assert f"{moved}/4.png cannot be read: cannot identify image file '{moved}/4.png'" in str(caught.value)
    assert str(paths[0].parent) not in str(caught.value)


@pytest.mark.parametrize("damaged", ["stop", "skip"])
def test_a_missing_file_stops_and_is_named(paths, damaged):
    paths[5].unlink()
    with pytest.raises(DataError, match=r"5\.jpg cannot be read: No such file or directory"):
        decode(ImageFiles(tuple(paths)), SMALL, damaged=damaged)


def test_nothing_but_damaged_files_is_refused(paths, cache):
    for path in paths:
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"None of 8 pictures can be read; the first: .*0\.png cannot be read"):
        decode(ImageFiles(tuple(paths)), SMALL, damaged="skip")
    assert_no_half_entry(cache)


def test_a_file_that_changes_its_size_while_it_is_used_is_named(paths):
    images = decode(ImageFiles(tuple(paths[:1])), Preparation(), storage="files").images
    Image.new("RGB", (3, 4)).save(paths[0])
    with pytest.raises(DataError, match=r"0\.png has changed: its pixels were \(3, 8, 9\), are \(3, 4, 3\)"):
        images[:]


@pytest.mark.parametrize("name", ["facts.npz", "images.npy", "damaged.json"])
def test_an_entry_that_was_damaged_is_named(paths, cache, name):
    decode(ImageFiles(tuple(paths)), SMALL)
    (entry,) = entries(cache)
    (cache / entry / name).write_bytes(b"\x93damaged")
    with pytest.raises(DataError, match=f"{entry}, decoded pictures, cannot be read: .* Delete it"):
        decode(ImageFiles(tuple(paths)), SMALL)
    shutil.rmtree(cache / entry)
    assert torch.equal(decode(ImageFiles(tuple(paths)), SMALL).images[:], naive(paths))


def test_a_cache_that_cannot_be_made_is_named(paths, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("COTRAIN_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"The image cache .*file.* cannot be written: .* with COTRAIN_CACHE"):
        decode(ImageFiles(tuple(paths)), SMALL)


def test_the_folder_of_the_cache_is_a_setting(tmp_path, monkeypatch):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("COTRAIN_CACHE")
    monkeypatch.setenv("COTRAIN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COTRAIN_SETTINGS", str(tmp_path / "some.toml"))
    (tmp_path / "some.toml").write_text('data = "elsewhere"')
    assert cache_folder() == tmp_path / "home" / "cache"
    (tmp_path / "some.toml").write_text('cache = "~/fast"')
    assert cache_folder() == Path.home() / "fast"


CHILD = """
import os, resource, sys, time
from pathlib import Path
from cotrain.data import ImageFiles, Preparation, decode
from cotrain.data import _image_cache
from cotrain.errors import DataError
pictures, task, storage = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
real = _image_cache.picture
if task.isdigit():
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(task), int(task)))
def slow(path, preparation):
    os.write(1, b"decoding\\n")
    time.sleep(3600 if path.name == "5.jpg" else 0)
    return real(path, preparation)
if task == "hang":
    _image_cache.PIECE = 1
    _image_cache.picture = slow
try:
    images = decode(ImageFiles(tuple(sorted(pictures.iterdir()))), Preparation(size=6), storage=storage).images
except DataError as error:
    sys.exit(f"DataError: {error}")
print(images[:].sum().item())
"""


@pytest.fixture
def child(paths):
    """Start a process that decodes the eight pictures."""
    started = []

    def start(task: str, storage: str = "memory_map") -> subprocess.Popen:
        command = [sys.executable, "-c", CHILD, str(paths[0].parent), task, storage]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


# bytes that a file may have: too few for a file's hash, for the pixels, and for the facts
@pytest.mark.parametrize(("limit", "storage"), [(20, "memory_map"), (500, "memory_map"), (500, "files")])
@pytest.mark.slow
def test_a_disk_that_is_too_small_leaves_no_half_entry(paths, child, cache, limit, storage):
    process = child(str(limit), storage)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "DataError: The image cache" in errors and "cannot be written: File too large. Free the disk" in errors
    assert "Traceback" not in errors
    assert_no_half_entry(cache)
    assert torch.equal(decode(ImageFiles(tuple(paths)), SMALL).images[:], naive(paths))


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.slow
def test_a_process_that_is_killed_while_it_decodes_leaves_no_half_entry(paths, child, cache, storage):
    process = child("hang", storage)
    for _ in range(6):
        assert process.stdout.readline() == "decoding\n"
    part = "images.npy" if storage == "memory_map" else ""
    while not (begun := list(cache.glob(f".[0-9a-f]*[0-9a-f]/{part}"))):
        time.sleep(0.01)
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=60) == -signal.SIGKILL
    assert entries(cache) == [] and begun[0].exists()
    found = decode(ImageFiles(tuple(paths)), SMALL, storage=storage)
    assert torch.equal(found.images[:], naive(paths))
    (entry,) = entries(cache)
    left = {path.name for path in cache.iterdir()}
    assert left == {entry, f".{entry}.lock", "signatures"}  # what the killed one had written is gone


@pytest.mark.slow
def test_two_processes_that_decode_the_same_pictures_at_once_get_them_right(paths, child, cache):
    processes = [child("plain", storage) for storage in STORAGES]
    for process in processes:
        out, errors = process.communicate(timeout=240)
        assert (process.returncode, errors) == (0, "")
        assert int(out) == naive(paths).sum()
    assert len(entries(cache)) == 1


def test_threads_of_one_process_wait_for_each_other(paths, decoded_files, caplog):
    caplog.set_level(logging.INFO)
    meeting, found = threading.Barrier(5), []

    def work() -> None:
        meeting.wait()
        found.append(decode(ImageFiles(tuple(paths)), SMALL).images[:])

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 5 and all(torch.equal(images, naive(paths)) for images in found)
    assert len(decoded_files) == 8


def test_a_process_that_waits_takes_what_the_other_one_decoded(paths, decoded_files, cache, monkeypatch):
    real, entered = cache_module.picture, threading.Event()

    def slow(path, preparation):
        entered.set()
        time.sleep(0.02)
        return real(path, preparation)

    monkeypatch.setattr(cache_module, "picture", slow)
    first = threading.Thread(target=decode, args=(ImageFiles(tuple(paths)), SMALL))
    first.start()
    assert entered.wait(60)
    images = decode(ImageFiles(tuple(paths)), SMALL).images
    first.join()
    assert torch.equal(images[:], naive(paths)) and len(decoded_files) == 8
