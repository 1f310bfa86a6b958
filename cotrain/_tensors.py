"""NumPy arrays as tensors."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor


def tensor_of(array: NDArray[Any]) -> Tensor:
    """An array of numbers as a tensor, which shares its memory where it can.

    It is a copy where torch would warn of memory that may not be written, such as a memory map, or cannot read it
    backwards.
    """
    usable = array.flags.writeable and min(array.strides, default=0) >= 0
    return torch.from_numpy(array if usable else array.copy())
