"""NumPy arrays or tensors in, the same kind out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from cotrain._tensors import tensor_of
from cotrain.errors import DataError

Array = NDArray[Any] | Tensor
Given = ArrayLike | Tensor


def to_tensor(values: Given, what: str) -> Tensor:
    """A tensor of floating numbers that shares their memory where it can: float32 or float64; others become float64.

    Raises:
        DataError: These are no numbers.
    """
    if isinstance(values, Tensor):
        held = values
    else:
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            raise DataError(f"{what} must be numbers, found {array.dtype}.")
        held = tensor_of(np.ascontiguousarray(array if array.dtype.kind == "f" else array.astype(float)))
    if held.dtype in (torch.float32, torch.float64):
        return held
    return held.float() if held.dtype in (torch.float16, torch.bfloat16) else held.double()


def matrix(values: Array, what: str) -> Tensor:
    """Values as a floating-point matrix: float32 and float64 as they are, half precision as float32, integers as
    float64; one dimension becomes a column.

    Raises:
        DataError: They are no numbers, or have more than two dimensions, or none.
    """
    if isinstance(values, np.ndarray):
        if values.dtype.kind not in "fiub":
            raise DataError(f"{what}: expected numbers, found an array of {values.dtype}.")
        tensor = tensor_of(np.ascontiguousarray(values))
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


def like(result: Tensor, *given: object) -> Any:
    """The result as a tensor where all that was given are tensors, else as a NumPy array, a number if it is one."""
    if all(isinstance(one, Tensor) for one in given):
        return result
    array = result.detach().cpu().numpy()
    return array[()] if array.ndim == 0 else array
