"""Files of a run are whole or not there, also where the disk is full; one process at a time writes them."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cotrain import run
from cotrain.errors import RunFolderError
from cotrain.training import RunFolder, ScoreSink, load_state
from cotrain.training._sinks import write_atomically


def folder_of(path: Path) -> RunFolder:
    folder = RunFolder(path)
    folder.checkpoints.mkdir(parents=True)
    return folder


def files(path: Path) -> list[str]:
    return sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file())


def assert_whole(path: Path) -> None:
    """Every checkpoint can be read, and nothing half-written is left."""
    found = files(path)
    assert not [name for name in found if name.endswith(".tmp")]
    states = [name for name in found if name.endswith(".pt")]
    assert states
    for name in states:
        load_state(path / name)


def test_a_state_comes_back_as_it_was(tmp_path):
    folder = folder_of(tmp_path)
    state = {"weights": torch.arange(3.0), "nested": [["a", 1, 0.1 + 0.2], None], "nan": float("nan")}
    folder.save(folder.best, state)
    found = load_state(folder.best)
    assert torch.equal(found["weights"], state["weights"]) and found["nested"] == state["nested"]
    assert found["nan"] != found["nan"]
    assert files(tmp_path) == ["best.pt"]


@pytest.mark.parametrize(("content", "text"), [(None, "There is no file"), (b"", "damaged"), (b"junk", "damaged")])
def test_a_state_that_is_missing_or_damaged_is_named(content, text, tmp_path):
    path = tmp_path / "best.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunFolderError, match=f"{text}|{path} is {text}"):
        load_state(path)


STATE = {"weights": torch.arange(40.0), "moments": [torch.zeros(3), 0.25], "history": [[1, "digits", "loss", 0.1]]}


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_bit_of_a_state_changes_unnoticed(place, bit, tmp_path_factory):
    """`torch.load` alone gives back tensors whose bits were changed on the disk."""
    folder = folder_of(tmp_path_factory.mktemp("run"))
    folder.save(folder.best, STATE)
    content = bytearray(folder.best.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    folder.best.write_bytes(content)
    with contextlib.suppress(RunFolderError):
        # read all the same, the bit stood in the padding between tensors
        assert str(load_state(folder.best)) == str(STATE)


def test_a_changed_weight_is_noticed(tmp_path):
    folder = folder_of(tmp_path)
    folder.save(folder.best, STATE)
    content = folder.best.read_bytes()
    changed = content.replace(torch.tensor([7.0]).numpy().tobytes(), torch.tensor([7.5]).numpy().tobytes())
    assert changed != content
    folder.best.write_bytes(changed)
    assert torch.load(folder.best)["weights"][7] == 7.5, "torch looks at no checksum"
    with pytest.raises(RunFolderError, match=r"best\.pt is damaged \(.*data/0 has another checksum"):
        load_state(folder.best)


class Evil:
    """Would make a file when it is read."""

    def __reduce__(self):
        return os.mkdir, ("evil",)


def test_a_state_that_would_run_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(Evil(), tmp_path / "best.pt")
    with pytest.raises(RunFolderError, match=r"best\.pt is damaged \(UnpicklingError\)"):
        load_state(tmp_path / "best.pt")
    assert files(tmp_path) == ["best.pt"]


@given(steps=st.lists(st.integers(0, 50), min_size=1, max_size=8, unique=True), damaged=st.sets(st.integers(0, 50)))
def test_the_last_two_checkpoints_are_kept_and_none_that_is_newer(steps, damaged, tmp_path_factory):
    folder = folder_of(tmp_path_factory.mktemp("run"))
    for step in damaged:  # left by whatever was before
        (folder.checkpoints / f"step-{step:09d}.pt").write_bytes(b"PK")
    for step in sorted(steps):
        folder.save_checkpoint(step, {"step": step})
        held = [int(path.stem[5:]) for path in sorted(folder.checkpoints.iterdir())]
        assert held[-1] == step and len(held) <= 2
        assert folder.last_checkpoint() == {"step": step}
    if len(steps) > 1 and not damaged - set(steps):
        assert held == sorted(steps)[-2:]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    folder = folder_of(tmp_path)
    folder.save(folder.best, {"epoch": 1})
    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            error = OSError(errno.EIO, "Input/output error")
            holder = os if name == "fsync" else Path
            patch.setattr(holder, name, lambda *_, error=error: (_ for _ in ()).throw(error))
            with pytest.raises(RunFolderError, match=r"best\.pt could not be written: Input/output error\. Earlier"):
                folder.save(folder.best, {"epoch": 2})
        assert load_state(folder.best) == {"epoch": 1}
        assert files(tmp_path) == ["best.pt"]


def test_writes_reach_the_disk_before_and_after_the_rename(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: events.append(os.readlink(f"/proc/self/fd/{fd}")) or fsync(fd))
    monkeypatch.setattr(Path, "replace", lambda self, to: events.append("rename") or replace(self, to))
    write_atomically(tmp_path / "a", b"content")
    assert events == [str(tmp_path / f".a.{os.getpid()}.tmp"), "rename", str(tmp_path)]


def test_starting_anew_removes_all_that_a_run_left_and_nothing_else(digits, tmp_path):
    run(digits(), out=tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    RunFolder(tmp_path).clear()
    assert files(tmp_path) == [".lock", "experiment.yaml", "notes.txt"]


def test_starting_anew_first_forgets_that_the_run_was_finished(digits, tmp_path, monkeypatch):
    run(digits(), out=tmp_path)
    removed = []
    monkeypatch.setattr(Path, "unlink", lambda self, missing_ok=False: removed.append(self.name))
    RunFolder(tmp_path).clear()
    assert removed[0] == "result.json", "or a process killed in between would leave a finished run without weights"


HOLD = """
import fcntl, os, sys
lock = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_process_in_the_folder_is_refused_until_the_first_ends(digits, tmp_path):
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / ".lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(RunFolderError, match=rf"Another process trains in {tmp_path}\. Wait for it, or name an"):
            run(digits(), out=tmp_path)
        assert files(tmp_path) == [".lock"]
        other.kill()
    assert run(digits(), out=tmp_path).best_epoch > 0


def test_the_lock_holds_while_training(digits, tmp_path):
    class Second(ScoreSink):
        def epoch(self, epoch, scores, seconds):
            run(digits(), out=tmp_path)

    with pytest.raises(RunFolderError, match="Another process trains in"):
        run(digits(), out=tmp_path, sinks=[Second()])


def test_a_folder_that_cannot_be_made_is_named(digits, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=r"The run's folder .*file/run cannot be written: Not a directory"):
        run(digits(), out=tmp_path / "file" / "run")


def test_too_little_space_is_refused_before_training(digits, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    with pytest.raises(RunFolderError, match=r"The disk of .* has 0 MB free; this run's checkpoints need \d+ MB\. Fr"):
        run(digits(), out=tmp_path)
    assert "journal.jsonl" not in files(tmp_path)
    monkeypatch.undo()
    assert run(digits(), out=tmp_path).best_epoch > 0


class At(ScoreSink):
    """Does something once: when an epoch has ended but is not yet saved, or (None) at the start."""

    def __init__(self, epoch, action) -> None:
        self.at, self.action = epoch, action

    def start(self, history, resumed_epoch):
        if self.at is None:
            self.action()

    def epoch(self, epoch, scores, seconds):
        if epoch == self.at:
            self.action()


def test_a_file_size_limit_stops_the_run_and_harms_nothing(tiny, finished, tmp_path, assert_same_run):
    held = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = (20_000, held[1])  # a checkpoint has more
    try:
        with pytest.raises(RunFolderError, match=r"step-\d+\.pt could not be written: the disk is full\. Earlier chec"):
            run(tiny(), out=tmp_path, sinks=[At(2, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, held)
    assert_whole(tmp_path)
    run(tiny(), out=tmp_path)
    assert_same_run(tmp_path, finished.folder)


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 1.5 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no `mount` here")
    if mounted.returncode:
        pytest.skip(f"a disk cannot be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(disk: Path) -> None:
    with (disk / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"0" * 512)


# at the start, the first that finds no room is a line of the journal
@pytest.mark.parametrize(("epoch", "file"), [(None, "run"), (0, r"step-000000000\.pt"), (2, r"step-\d+\.pt")])
def test_a_full_disk_stops_the_run_and_harms_nothing(epoch, file, tiny, finished, small_disk, assert_same_run):
    out = small_disk / "run"
    with pytest.raises(RunFolderError, match=rf"/{file} could not be written: the disk is full\. Earlier checkpoints"):
        run(tiny(), out=out, sinks=[At(epoch, lambda: fill(small_disk))])
    if epoch:
        assert_whole(out)
    with pytest.raises(RunFolderError, match=r"The disk of .*/run has 0 MB free"):
        run(tiny(), out=out)
    assert not [name for name in files(out) if name.endswith(".tmp")]
    (small_disk / "ballast").unlink()
    run(tiny(), out=out)
    assert_same_run(out, finished.folder)
