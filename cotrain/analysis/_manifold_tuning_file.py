"""Read the files of tuning that the MATLAB code of object manifolds takes."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cotrain.analysis._manifold_arrays import manifolds_of_sessions
from cotrain.errors import DataError


@dataclass(frozen=True)
class TuningSession:
    """One session (a layer, or a brain region): its title, and a list of (neurons, points), one an object."""

    title: str
    manifolds: list[NDArray[np.float64]] = field(repr=False)


def read_tuning(path: str | os.PathLike[str]) -> list[TuningSession]:
    """The sessions of a file `<name>_tuning.mat`, as the MATLAB code of Cohen et al. 2020 takes it.

    It holds `tuning_function`, [sessions, neurons, samples, objects] or [neurons, samples, objects] with NaN for what
    is missing (see `manifolds_of_sessions`), and the cell `data_titles`, which may lack, and is saved with `-v7.3`.

    Raises:
        DataError: There is no such file, it is of another version or damaged, or lacks `tuning_function`.
    """
    h5py: Any = importlib.import_module("h5py")

    try:
        with h5py.File(path, "r") as file:
            if "tuning_function" not in file:
                raise DataError(f"{path} has no variable tuning_function, only {sorted(set(file) - {'#refs#'})}.")
            values = np.asarray(file["tuning_function"]).T  # HDF5 holds MATLAB's axes in reverse
            titles = _titles(file)
    except FileNotFoundError:
        raise DataError(f"There is no file {path}.") from None
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise DataError(f"{path} cannot be read as HDF5 ({error}). Save it in MATLAB with -v7.3.") from error
    if values.ndim == 2:  # MATLAB drops the last axis of one object
        values = values[:, :, None]
    sessions = manifolds_of_sessions(values)
    if len(titles) not in (0, len(sessions)):
        raise DataError(f"{path} has {len(sessions)} sessions but {len(titles)} titles in data_titles.")
    titles = titles or [f"session {number + 1}" for number in range(len(sessions))]
    return [TuningSession(title, manifolds) for title, manifolds in zip(titles, sessions, strict=True)]


def _titles(file: Any) -> list[str]:
    """A cell of texts is an array of references to arrays of UTF-16 units."""
    if "data_titles" not in file:
        return []
    cell = np.asarray(file["data_titles"])
    if cell.dtype.kind != "O":  # one title, not in a cell
        return [_text(file["data_titles"])]
    return [_text(file[reference]) for reference in cell.T.ravel(order="F")]


def _text(stored: Any) -> str:
    if stored.attrs.get("MATLAB_empty", 0):
        return ""
    units = np.asarray(stored).T.ravel().astype("<u2")
    return units.tobytes().decode("utf-16-le", "replace")
