"""Where features are put while images pass: in memory, or in files of a folder."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cotrain.errors import DataError

DTYPES = ("float32", "float16", "float64")


class FeatureStore:
    """Matrices by name, filled row by row; files of a folder get their names only when all is done.

    Args:
        folder: Where matrices lie as `<layer>.npy`; None: in memory.
        dtype: One of `DTYPES`.

    Raises:
        DataError: There is no such type.
    """

    def __init__(self, folder: Path | None, dtype: str) -> None:
        if dtype not in DTYPES:
            raise DataError(f"Features are kept as {', '.join(DTYPES)}, found {dtype!r}.")
        self.folder, self.dtype = folder, np.dtype(dtype)
        self.matrices: dict[str, NDArray[Any]] = {}
        self._begun: dict[Path, Path] = {}  # a file that is being written, and its name later

    def __enter__(self) -> FeatureStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """After an error, no file is left."""
        if kind is not None:
            self.matrices.clear()
        for path in self._begun:
            with suppress(FileNotFoundError):
                path.unlink()

    def path(self, name: str) -> Path | None:
        """A layer's file: its name, with what no file name may hold written as %XX."""
        return None if self.folder is None else self.folder / f"{quote(name, safe='#[] ')}.npy"

    def require_free(self, names: list[str]) -> None:
        """Refuse to write over files.

        Raises:
            DataError: One is there.
        """
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        there = [path for name in names if (path := self.path(name)) is not None and path.exists()]
        if there:
            raise DataError(f"{len(there)} files of features are there already, first {there[0]}. Name another folder.")

    def begin(self, name: str, shape: tuple[int, int], *, temporary: bool = False) -> None:
        """Make room; what is temporary is float32 and goes away with `drop`."""
        dtype = np.dtype("float32") if temporary else self.dtype
        path = self.path(name)
        if path is None:
            self.matrices[name] = np.empty(shape, dtype)
            return
        begun = path.with_name(f".{path.name}.{os.getpid()}.{'held' if temporary else 'new'}")
        self.matrices[name] = np.lib.format.open_memmap(begun, mode="w+", dtype=dtype, shape=shape)
        self._begun[begun] = path

    def put(self, name: str, start: int, values: Tensor) -> None:
        """Rows from `start` on.

        Raises:
            DataError: A value is too large for float16.
        """
        matrix = self.matrices[name]
        rows = values.to("cpu", torch.float64 if matrix.dtype == np.float64 else torch.float32).numpy()
        if matrix.dtype == np.float16 and len(rows) and np.nanmax(np.abs(rows)) > np.finfo(np.float16).max:
            raise DataError(f"Features of {name!r} reach {np.nanmax(np.abs(rows)):.3g}, too large for float16.")
        matrix[start : start + len(rows)] = rows

    def replace(self, name: str, values: Tensor) -> None:
        """Keep these instead of what was held."""
        self.drop(name)
        self.begin(name, (values.shape[0], values.shape[1]))
        self.put(name, 0, values)

    def drop(self, name: str) -> None:
        """Forget a matrix, and delete its unfinished file."""
        del self.matrices[name]
        path = self.path(name)
        for begun in [begun for begun, later in self._begun.items() if later == path]:
            begun.unlink()
            del self._begun[begun]

    def tensor(self, name: str) -> Tensor:
        """A matrix as it is now."""
        return torch.from_numpy(self.matrices[name])

    def finished(self) -> dict[str, NDArray[Any]]:
        """All matrices; those in files are mapped, and changing them does not change the files."""
        if self.folder is None:
            return self.matrices
        for matrix in self.matrices.values():
            if isinstance(matrix, np.memmap):
                matrix.flush()
        for begun, path in list(self._begun.items()):
            begun.replace(path)
            del self._begun[begun]
        paths = {name: self.path(name) for name in self.matrices}
        self.matrices = {name: np.load(path, mmap_mode="c") for name, path in paths.items() if path is not None}
        return self.matrices
