"""Tensors or arrays in, the same kind out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cotrain.errors import DataError

Values = Tensor | NDArray[Any]


def matrix(values: Values, what: str) -> Tensor:
    """Values as a floating-point matrix: float32 and float64 as they are, half precision as float32, integers as
    float64; one dimension becomes a column.

    Raises:
        DataError: They are no numbers, or have more than two dimensions, or none.
    """
    if isinstance(values, np.ndarray):
        if values.dtype.kind not in "fiub":
            raise DataError(f"{what}: expected numbers, found an array of {values.dtype}.")
        # torch takes no array that must not be written to, such as a memory map of a file
        held = np.ascontiguousarray(values)
        tensor = torch.from_numpy(held if held.flags.writeable else held.copy())
    elif isinstance(values, Tensor):
        tensor = values.detach()
    else:
        raise DataError(f"{what}: expected a tensor or an array, found a {type(values).__name__}.")
    if tensor.ndim == 1:
        tensor = tensor[:, None]
    if tensor.ndim != 2:
        raise DataError(f"{what}: expected a matrix with one row a stimulus, found shape {tuple(tensor.shape)}.")
    if tensor.dtype in (torch.float16, torch.bfloat16):
        return tensor.float()
    return tensor if tensor.is_floating_point() else tensor.double()


def like(found: Tensor, given: Values) -> Any:
    """A result as an array where what was given is one."""
    return found.cpu().numpy() if isinstance(given, np.ndarray) else found
