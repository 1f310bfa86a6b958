"""Arithmetic in half precision: autocast of the forward pass, and scaled gradients where half precision needs them."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from cotrain.errors import TrainingError

PrecisionName = Literal["float32", "bfloat16", "float16"]


class HalfPrecision:
    """Forward passes under autocast; weights, losses and optimiser stay float32.

    With float16 the loss is scaled, so that small gradients are not lost, and a step whose gradients are not finite is
    left out while the scale is found (Micikevicius et al. 2018, ICLR, section 3.2).

    Args:
        name: bfloat16 or float16.
        device: Where the model is.

    Raises:
        TrainingError: The GPU has no such arithmetic.
    """

    def __init__(self, name: PrecisionName, device: torch.device) -> None:
        self.dtype = getattr(torch, name)
        if device.type == "cuda" and name == "bfloat16" and not torch.cuda.is_bf16_supported(including_emulation=False):
            raise TrainingError(f"{torch.cuda.get_device_name(device)} has no bfloat16; use precision='float16'.")
        self.device_type = device.type
        self.scaler = torch.amp.GradScaler(device.type) if name == "float16" else None

    def autocast(self) -> torch.autocast:
        """The context of a forward pass."""
        return torch.autocast(self.device_type, dtype=self.dtype)

    def state_dict(self) -> dict[str, Any]:
        """All that changes."""
        return {} if self.scaler is None else self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        if self.scaler is not None:
            self.scaler.load_state_dict(state)


def half_precision(name: PrecisionName, device: torch.device) -> HalfPrecision | None:
    """What a config asks for; None: all is float32."""
    return None if name == "float32" else HalfPrecision(name, device)


def as_float32(output: Any) -> Any:
    """The outputs of a model, tensor or tuple, as float32: losses are computed in it."""
    if isinstance(output, Tensor):
        return output.float() if output.is_floating_point() else output
    return tuple(as_float32(part) for part in output)
