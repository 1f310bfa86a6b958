"""Weights in the lab's store: put there whole or not at all, and checked by size and SHA-256 when they are read."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from cotrain.errors import StoreError
from cotrain.tables._datajoint import dj
from cotrain.training import load_state

STORE = "checkpoints"  # the name in DataJoint's `stores`
LOST = (
    "Give all machines one store (`stores` of DataJoint's settings). Where that is so: put the file back, from a "
    "backup or from `best.pt`, or `kept`, in the run's folder on the machine that trained it."
)
READING = "Is it up, and does `stores` in DataJoint's settings (DJ_STORES) say what it should?"
WRITING = "The run is whole in its folder: make the store well, then `cotrain retry`; nothing is trained again."
SECRETS = ("access_key", "secret_key", "token", "account_key", "connection_string")


@dataclass(frozen=True)
class StoredWeights:
    """What a row tells of a file in the store; the file is read only when it is asked for.

    Args:
        path: Within the store, so that the store may move.
        size: In bytes.
        sha256: Of its content, as hexadecimal digits.
        config: Settings of DataJoint, which say where the store is.
    """

    path: str
    size: int
    sha256: str
    config: Any = field(repr=False, compare=False)

    def open(self) -> io.BytesIO:
        """The content, checked.

        Raises:
            StoreError: The file is missing, cut off or changed, or the store does not answer.
        """
        with self._reading() as backend:
            content = backend.get_buffer(self.path)
            self._require(len(content), hashlib.sha256(content).hexdigest())
        return io.BytesIO(content)

    def load(self) -> dict[str, Any]:
        """The state that was saved, its tensors on the CPU.

        Raises:
            StoreError: As of `open`.
            RunFolderError: What was stored is no state.
        """
        return load_state(self.open())

    def download(self, folder: Path) -> Path:
        """Copy the file into a folder, as `RUN.pt`, or `RUN-epoch-N.pt` of a kept epoch; whole or not there.

        Raises:
            StoreError: As of `open`, or the folder cannot be written.
        """
        *more, run = (held.name.split("=") for held in folders_of_key(PurePosixPath(self.path)))
        target = folder / f"{'-'.join([run[1], *('-'.join(part) for part in reversed(more))])}.pt"
        with self._reading(f"copied to {target}") as backend, _replacing(target) as temporary:
            backend.get_file(self.path, temporary)
            self._require(*_size_and_sha256(temporary))
        return target

    def check(self) -> None:
        """Read the file, and keep nothing of it.

        Raises:
            StoreError: As of `open`.
        """
        with self._reading() as backend, backend.open(self.path) as file:
            self._require(backend.size(self.path), hashlib.file_digest(file, "sha256").hexdigest())

    def record(self) -> dict[str, Any]:
        """What the row holds."""
        return {"path": self.path, "store": STORE, "size": self.size, "sha256": self.sha256}

    def _require(self, size: int, sha256: str) -> None:
        if size != self.size:
            raise _LostError(f"it has {size} bytes, not the {self.size} that were stored")
        if sha256 != self.sha256:
            raise _LostError(f"its content has changed (SHA-256 {sha256[:12]}..., stored was {self.sha256[:12]}...)")

    @contextmanager
    def _reading(self, done: str = "read") -> Iterator[Any]:
        failed = f"The weights {self.path} cannot be {done}"
        with opened_store(self.config, failed, READING) as backend:
            try:
                yield backend
            except (_LostError, FileNotFoundError, dj.errors.MissingExternalFile) as error:
                what = error if isinstance(error, _LostError) else "there is no such file"
                raise StoreError(f"{failed}: {what}. The store is {backend.get_url('')}. {LOST}") from None


class _LostError(Exception):
    """The file is not what was stored."""


class WeightsCodec(dj.SchemaCodec):
    """`<weights@checkpoints>`: takes the path of a file, gives `StoredWeights`."""

    name = "weights"

    def encode(
        self,
        value: str | Path | StoredWeights,
        *,
        key: dict[str, Any] | None = None,
        context: dict[str, Any] | None = None,
        store_name: str | None = None,
    ) -> dict[str, Any]:
        """Put a file into the store, unless it is there; what the row is to hold."""
        if isinstance(value, StoredWeights):
            return value.record()
        schema, table, attribute, primary_key = self._extract_context(key, context)
        return put(Path(value), self._codec_config(key, context), schema, table, attribute, primary_key).record()

    def decode(
        self, stored: dict[str, Any], *, key: dict[str, Any] | None = None, context: dict[str, Any] | None = None
    ) -> StoredWeights:
        """What the row holds of a file; the store is not asked."""
        config = self._codec_config(key, context) or dj.config
        return StoredWeights(stored["path"], stored["size"], stored["sha256"], config)

    def validate(self, value: Any) -> None:
        """Refuse what is neither a file nor in the store."""
        if not isinstance(value, StoredWeights | str | Path):
            raise TypeError(f"<weights> expects the path of a file, got {type(value).__name__}")


def put(file: Path, config: Any, schema: str, table: str, attribute: str, primary_key: dict[str, Any]) -> StoredWeights:
    """Copy a file into the store, piece by piece.

    Raises:
        StoreError: The store is full, does not answer or refuses. Nothing is left in it then.
    """
    size = file.stat().st_size
    with opened_store(config, f"{file} ({size / 1e6:.1f} MB) cannot be put into the store", WRITING) as backend:
        # a name of its own for each try: what another one left, or is writing, is not touched
        path, _ = dj.storage.build_object_path(
            schema, table, attribute, primary_key, file.suffix, schema_prefix=backend.spec["schema_prefix"]
        )
        if backend.protocol == "file":
            with _replacing(Path(backend.spec["location"]) / path) as temporary:
                shutil.copyfile(file, temporary)
        else:
            backend.put_file(file, path)  # an object is there when all of it is
        return StoredWeights(path, *_size_and_sha256(file), config)


def folders_of_key(path: PurePath) -> list[PurePath]:
    """The folders of a file in the store that are named by its row's key, the innermost first."""
    return list(takewhile(lambda folder: "=" in folder.name, path.parents))


@contextmanager
def opened_store(config: Any, failed: str, advice: str) -> Iterator[Any]:
    """The store as DataJoint's backend, with one error for all that each kind of store may raise.

    Raises:
        StoreError: Begins with `failed`, ends with `advice`, and tells no keys.
    """
    spec: dict[str, Any] = {}
    try:
        spec = config.get_store_spec(STORE)
        backend = dj.storage.StorageBackend(spec)
        where = backend.get_url("")
        assert backend.fs is not None  # made now: it tells which package it lacks
    except ImportError as error:
        raise StoreError(
            f"{failed}: the store {STORE!r} has the protocol {spec['protocol']}, for which a package is missing "
            f"({error}). For S3: pip install 'cotrain[s3]'."
        ) from None
    except Exception as error:
        raise StoreError(
            f"{failed}: the store {STORE!r} is not usable ({_told(error, spec)}). Look at `stores` in DataJoint's "
            "settings (DJ_STORES)."
        ) from None
    try:
        yield backend
    except StoreError:
        raise
    except Exception as error:
        raise StoreError(f"{failed}: {_told(error, spec)}. The store is {where}. {advice}") from None


def _told(error: Exception, spec: dict[str, Any]) -> str:
    """An error's own words without keys."""
    text = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    for name in SECRETS:
        if value := spec.get(name):
            text = text.replace(str(value), "***")
    return " ".join(text.split()).rstrip(".")


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A file to write that takes the target's place when all is well, and is gone when not."""
    folders = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(target)
        renamed = os.open(target.parent, os.O_RDONLY)
        os.fsync(renamed)  # a row will rely on it
        os.close(renamed)
    except BaseException:
        with suppress(OSError):  # another process writes to a folder, or this one may not
            temporary.unlink(missing_ok=True)
            for folder in folders:
                folder.rmdir()
        raise


def _size_and_sha256(file: Path) -> tuple[int, str]:
    with file.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
        return opened.tell(), sha256
