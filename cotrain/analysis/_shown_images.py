"""Images of any kind, batch by batch, as a network takes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cotrain.data import ImageRows
from cotrain.errors import DataError

Prepare = Callable[[Tensor], Tensor]


class ShownImages:
    """Copies of batches, so that a network that works in place leaves the originals alone.

    Args:
        images: A tensor (stimuli, ...), `ImageRows`, or an array or something that is sliced like one, (stimuli,
            height, width[, 1 or 3]) or (stimuli, 1 or 3, height, width). uint8, or floating-point.
        device, dtype: Of the network.
        keep_bytes: Whether the network takes uint8 itself; else they become floats in 0..1.
        prepare: What is done with a batch before the network sees it.

    Raises:
        DataError: There are none, or they are of another kind.
    """

    def __init__(
        self,
        images: Any,
        *,
        device: torch.device,
        dtype: torch.dtype,
        keep_bytes: bool = False,
        prepare: Prepare | None = None,
    ) -> None:
        if not isinstance(images, (Tensor, ImageRows)) and not (hasattr(images, "shape") and len(images.shape)):
            raise DataError(f"Expected images as a tensor, an array or ImageRows, found a {type(images).__name__}.")
        self.images, self.device, self.dtype = images, device, dtype
        self.keep_bytes, self.prepare = keep_bytes, prepare
        if not len(self):
            raise DataError("There are no images to be shown.")

    def __len__(self) -> int:
        return int(self.images.shape[0])

    @property
    def as_arrays(self) -> bool:
        """Whether results are to be arrays."""
        return not isinstance(self.images, (Tensor, ImageRows))

    def batch(self, start: int, stop: int) -> Tensor:
        """Those of some places, on the device.

        Raises:
            DataError: They are no numbers, hold values that are not finite, or floats that the network would normalise
                although they are no pixels in 0..1.
        """
        held = self.images[start:stop]
        tensor = channels_first(held) if not isinstance(held, Tensor) else held
        if tensor.dtype != torch.uint8 and not tensor.is_floating_point():
            raise DataError(f"Expected images as uint8 or floating-point numbers, found {tensor.dtype}.")
        found = tensor.detach().to(self.device, copy=True)
        if tensor.dtype == torch.uint8:
            found = found if self.keep_bytes and self.prepare is None else found.to(self.dtype) / 255
        else:
            found = found.to(self.dtype)
        if self.prepare is not None:
            found = self.prepare(found)
        if found.is_floating_point():
            low, high = (float(value) for value in found.aminmax())
            if not -np.inf < low <= high < np.inf:
                raise DataError(f"Images {start} to {start + len(held) - 1} hold NaN or infinite values.")
            if self.keep_bytes and (low < 0 or high > 1):
                raise DataError(
                    f"Images {start} to {start + len(held) - 1} have values from {low:.3g} to {high:.3g}, but the "
                    "model normalises pixels in 0..1 (or uint8) itself. Give them as they were before normalisation."
                )
        return found


def channels_first(held: Any) -> Tensor:
    array = np.asarray(held)
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[3] in (1, 3) and array.shape[1] not in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise DataError(f"Expected images as uint8 or floating-point numbers, found {array.dtype}.")
    return torch.from_numpy(np.array(array, order="C"))
