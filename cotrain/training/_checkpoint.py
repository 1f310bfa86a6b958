"""Checkpoints that are whole or not there, and the folder of a run."""

from __future__ import annotations

import errno
import fcntl
import io
import logging
import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch

from cotrain.errors import FolderInUseError, RunFolderError
from cotrain.training._sinks import write_atomically

log = logging.getLogger(__name__)

KEPT = 2
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class RunFolder:
    """The files of one run.

    | file | content |
    |---|---|
    | `experiment.yaml` | what is run |
    | `info.json` | what the model was told of the data |
    | `journal.jsonl` | all scores |
    | `checkpoints/` | the last two states that training can go on from |
    | `best.pt` | weights of the best epoch, when training has ended; before that they are in the checkpoints |
    | `kept/` | weights after the epochs that the trainer's config names |
    | `environment.json` | versions, device and switches of the last start |
    | `result.json` | written last: the run is finished |
    | `tensorboard/` | curves |
    | `profile/` | traces of the hook `profile` |
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.experiment, self.info = path / "experiment.yaml", path / "info.json"
        self.journal, self.best, self.result = path / "journal.jsonl", path / "best.pt", path / "result.json"
        self.checkpoints, self.kept, self.tensorboard = path / "checkpoints", path / "kept", path / "tensorboard"
        self.environment, self.profile = path / "environment.json", path / "profile"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out while training.

        Raises:
            FolderInUseError: Another process trains here.
            RunFolderError: The folder cannot be written, or its disk is full.
        """
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunFolderError(f"The run's folder {self.path} cannot be written: {error.strerror}.") from None
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise FolderInUseError(
                    f"Another process trains in {self.path}. Wait for it, or name another folder."
                ) from None
            for folder in (self.path, self.checkpoints, self.kept):
                for left in folder.glob(".*.tmp"):  # by a process that was killed
                    left.unlink()
            yield
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise not_written(self.path, error) from None
        finally:
            os.close(lock)

    def require_space(self, size: int) -> None:
        """Refuse to start where the disk has no room for `size` bytes.

        Raises:
            RunFolderError: Says how much is free and how much is needed.
        """
        free = shutil.disk_usage(self.path).free
        if free < size:
            raise RunFolderError(
                f"The disk of {self.path} has {free / 1e6:.0f} MB free; this run's checkpoints need "
                f"{size / 1e6:.0f} MB. Free some space, or name another folder."
            )

    def save(self, path: Path, state: dict[str, Any]) -> None:
        """Write a state; on any failure the files that were there stay as they were.

        Raises:
            RunFolderError: The disk is full, or fails.
        """
        # torch reports a full disk as an internal error; made in memory first, the disk's own word is heard
        buffer = io.BytesIO()
        torch.save(state, buffer)
        try:
            write_atomically(path, buffer.getbuffer())
        except OSError as error:
            raise not_written(path, error) from None

    def save_checkpoint(self, step: int, state: dict[str, Any]) -> None:
        """Write the state after an optimiser step, and let go of all but the last two."""
        saved = self.checkpoints / f"step-{step:09d}.pt"
        self.save(saved, state)
        held = self._checkpoints()
        end = held.index(saved) + 1
        for other in (*held[: max(0, end - KEPT)], *held[end:]):  # a later step: damaged, or training would be there
            other.unlink()

    def keep(self, epoch: int, weights: dict[str, Any]) -> None:
        """Write the weights after an epoch, to stay.

        Raises:
            RunFolderError: The disk is full, or fails.
        """
        try:
            self.kept.mkdir(exist_ok=True)
        except OSError as error:
            raise not_written(self.kept, error) from None
        self.save(self.kept / f"epoch-{epoch:06d}.pt", {"epoch": epoch, "model": weights})

    def kept_epochs(self) -> dict[int, Path]:
        """{epoch: file of the weights after it}, in the order of epochs; as `best.pt` it holds `epoch` and `model`."""
        files = {int(file.stem.removeprefix("epoch-")): file for file in self.kept.glob("epoch-*.pt")}
        return dict(sorted(files.items()))

    def forget_kept(self, *, after: int) -> None:
        """Remove the weights after later epochs than this one, which are trained again."""
        for epoch, file in self.kept_epochs().items():
            if epoch > after:
                file.unlink()

    def last_checkpoint(self) -> dict[str, Any] | None:
        """The newest state that is whole; None where there is none."""
        for path in reversed(self._checkpoints()):
            try:
                return load_state(path)
            except RunFolderError as error:
                log.warning("%s Trying the one before.", error)
        return None

    def last_step(self) -> int | None:
        """After how many steps the newest checkpoint was written; None where there is none."""
        held = self._checkpoints()
        return int(held[-1].stem.removeprefix("step-")) if held else None

    def has_checkpoint(self) -> bool:
        """Whether anything was trained here."""
        return bool(self._checkpoints()) or self.result.is_file()

    def clear(self) -> None:
        """Remove what an earlier try left, to start anew."""
        for path in (self.result, *self._checkpoints(), self.best, self.journal, self.info, self.environment):
            path.unlink(missing_ok=True)
        for folder in (self.kept, self.tensorboard, self.profile):
            shutil.rmtree(folder, ignore_errors=True)

    def _checkpoints(self) -> list[Path]:
        return sorted(self.checkpoints.glob("step-*.pt"))


def not_written(path: Path, error: OSError) -> RunFolderError:
    """What to tell where a file of a run could not be written."""
    return RunFolderError(
        f"{path} could not be written: {'the disk is full' if error.errno in FULL else error.strerror}. Earlier "
        "checkpoints are whole: make room and start the same command again, and training goes on from the last of them."
    )


def load_state(path: Path | IO[bytes]) -> dict[str, Any]:
    """Read a state from a file; nothing but tensors and plain values is accepted.

    Raises:
        RunFolderError: The file is missing or damaged, be it in a single bit.
    """
    try:
        # torch.load compares no checksums; the zip format, in which states are written, holds a CRC-32 of each tensor
        with zipfile.ZipFile(path) as archive:
            if (broken := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"{broken} has another checksum than when it was written")
        if not isinstance(path, Path):
            path.seek(0)
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise RunFolderError(f"There is no file {path}.") from None
    except zipfile.BadZipFile as error:
        raise RunFolderError(f"{path} is damaged ({error}).") from error
    except Exception as error:  # torch raises many types on a damaged file, some with advice that must not be followed
        raise RunFolderError(f"{path} is damaged ({type(error).__name__}).") from error
    return state
