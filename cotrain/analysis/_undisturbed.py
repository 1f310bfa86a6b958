"""A network that is looked at and left as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def undisturbed(network: nn.Module) -> Iterator[None]:
    """For passes in evaluation mode without gradients; afterwards, also after an error, nothing has changed.

    Attributes of all modules (training flags, statistics that are active, what a pass stored), values of buffers, and
    torch's random numbers are put back. Dropout and the like are off; what draws in evaluation draws the same numbers
    each time. Compiled modules run uncompiled, since hooks do not reach into them. Parameters are not looked after: a
    pass that changes those is no pass.
    """
    modules = list(network.modules())
    attributes = [(module, dict(vars(module))) for module in modules]
    buffers = [(owner, name, held, held.clone()) for owner, name, held in _buffers(modules)]
    devices = {held.device for held in network.parameters() if held.device.type == "cuda"}
    try:
        with ExitStack() as stack:
            if any(getattr(module, "_compiled_call_impl", None) is not None for module in modules):
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            stack.enter_context(torch.random.fork_rng(devices=list(devices)))
            torch.default_generator.manual_seed(0)
            for device in devices:
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(0)
            network.eval()
            yield
    finally:
        for module, before in attributes:
            _put_back(vars(module), before)
        for owner, name, held, value in buffers:
            setattr(owner, name, held)
            if not torch.equal(held, value):
                with torch.no_grad():
                    held.copy_(value)


def _buffers(modules: list[nn.Module]) -> Iterator[tuple[nn.Module, str, Tensor]]:
    for module in modules:
        for name, held in module.named_buffers(recurse=False, remove_duplicate=False):
            yield module, name, held


def _put_back(now: dict[str, Any], before: dict[str, Any]) -> None:
    for name in now.keys() - before.keys():
        del now[name]
    for name, value in before.items():
        if now.get(name, now) is not value:
            now[name] = value
