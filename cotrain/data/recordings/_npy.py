"""NumPy's files, with one clear error for whatever is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cotrain.errors import DataError


def read_npy(path: Path, *, mapped: bool = False) -> NDArray[Any]:
    """The array of a `.npy` file.

    Args:
        path: Holds numbers or texts; arrays of objects, which are pickles, are refused.
        mapped: Leave the array on the disk, and read what is asked for.

    Raises:
        DataError: The file is missing, damaged, or no single array.
    """
    try:
        array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except Exception as error:  # NumPy reads headers as Python's text, which fails in many ways
        raise DataError(f"{path} cannot be read: {error or type(error).__name__}") from None
    if isinstance(array, np.ndarray):
        return array
    array.close()
    raise DataError(f"{path} must be one array, found an archive of arrays.")
