"""Passes through a backbone up to some taps, compiled by `torch.compile`.

`tapped` ends a pass by an exception, at which a compiler stops. Here the pass is written out beforehand, once for each
choice of taps: as a function that calls what lies before the last tap and nothing behind it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor, fx, nn

from cotrain.errors import ModelError
from cotrain.models._backbone import find_tap, tapped
from cotrain.models._channels_last import channels_last

log = logging.getLogger(__name__)

Written = Callable[["_Root", Tensor], tuple[Tensor, ...]]
MOST_VERSIONS = 8  # of one pass; as many as dynamo keeps of one function
LONGEST_REASON = 600  # characters


class _Reached(Exception):
    """Ends the writing of a pass at its last tap."""


class _Root(nn.Module):
    """Holds a backbone, so that its own hooks are part of the pass, as those of any other module."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Any:
        return self.backbone(images)


class _PassTracer(fx.Tracer):
    """Follows a pass into the modules that hold taps; calls of all others are written down as they are.

    So fx sees little of a backbone, and control flow within its blocks is left to dynamo, which knows far more of it.
    """

    def __init__(self, backbone: nn.Module, taps: Sequence[str]) -> None:
        super().__init__()
        self.names: dict[nn.Module, list[str]] = {}
        for tap in taps:
            self.names.setdefault(find_tap(backbone, tap), []).append(tap)
        self.holders = set(_holders(backbone, taps))
        self.found: dict[str, fx.Proxy] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return m not in self.holders

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        output = super().call_module(m, forward, args, kwargs)
        if m not in self.names or self.names[m][0] in self.found:
            return output
        last = len(self.found) + len(self.names[m]) == sum(map(len, self.names.values()))
        kept = output if last else output.clone()  # as in `tapped`
        self.found |= dict.fromkeys(self.names[m], kept)
        if last:
            raise _Reached
        return output


def write_pass(backbone: nn.Module, taps: Sequence[str]) -> Written:
    """A function that calls the layers up to the last tap, and gives the taps' features in their order.

    It holds no layer or parameter: it looks for them in the module that it is given. Control flow in the modules that
    hold taps is as their mode of training is now.

    Raises:
        ModelError: There is no such tap, fx cannot follow the pass, or the pass never gets there.
    """
    tracer = _PassTracer(backbone, taps)
    try:
        tracer.trace(_Root(backbone))
    except _Reached:
        pass
    except ModelError:
        raise
    except Exception as error:
        raise _not_compiled(backbone, error) from error
    missing = [tap for tap in taps if tap not in tracer.found]
    if missing:
        raise ModelError(f"The forward pass never reached {', '.join(missing)}.")
    tracer.graph.output(tuple(tracer.found[tap].node for tap in taps))
    source = tracer.graph.python_code("self")
    names = dict(source.globals)
    # a code object of its own: dynamo counts versions by code object
    exec(compile(source.src, f"<pass to {', '.join(taps)}>", "exec"), names)
    return names["forward"]  # type: ignore[no-any-return]


class CompiledPasses:
    """The compiled passes through one backbone; they hold none of its parameters, and a copy starts without any.

    Each is compiled when it is first used, and again for each new shape of images.

    Args:
        backend: As `torch.compile` takes it.
    """

    def __init__(self, backend: str | Callable[..., Any]) -> None:
        self.backend = backend
        self._root: _Root | None = None
        self._hooks: list[dict[int, Any]] = []
        self._holders: dict[tuple[str, ...], list[nn.Module]] = {}
        self._turned: dict[tuple[str, ...], list[bool]] = {}
        self._versions: dict[tuple[Any, ...], dict[tuple[Any, ...], Callable[..., Any]]] = {}
        self._eager: set[tuple[Any, ...]] = set()
        self._warned: set[tuple[Any, ...]] = set()

    def __getstate__(self) -> dict[str, Any]:
        return {"backend": self.backend}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __call__(self, backbone: nn.Module, images: Tensor, taps: tuple[str, ...], task: str) -> dict[str, Tensor]:
        """What `tapped` gives; `task` tells passes apart whose layers differ by task, and else is empty.

        Raises:
            ModelError: `torch.compile` fails on the backbone.
        """
        if self._root is None or self._root.backbone is not backbone:
            self._start(backbone)
        assert self._root is not None
        kind = (images.shape, images.dtype, images.device, taps, task)
        compiled = None if kind in self._eager else self._pass(backbone, taps, task)
        if compiled is not None:
            try:
                outputs = compiled(self._root, images)
            except torch._dynamo.exc.FailOnRecompileLimitHit:  # raised before anything is computed
                compiled = None
            except torch._dynamo.exc.TorchDynamoException as error:
                raise _not_compiled(backbone, error) from error
        if compiled is None:
            self._warn_once(kind)
            return tapped(backbone, images, taps)
        turned = zip(taps, outputs, self._turned[taps], strict=True)
        return {tap: found.permute(0, 3, 1, 2) if turn and found.ndim == 4 else found for tap, found, turn in turned}

    def _start(self, backbone: nn.Module) -> None:
        self.__init__(self.backend)  # type: ignore[misc]
        self._root = _Root(backbone)
        # dynamo itself would not notice that a hook comes or goes
        self._hooks = [
            hooks for module in self._root.modules() for hooks in (module._forward_hooks, module._forward_pre_hooks)
        ]

    def _pass(self, backbone: nn.Module, taps: tuple[str, ...], task: str) -> Callable[..., Any] | None:
        """The compiled function for the hooks and modes that there are now; None where there were too many of these."""
        if taps not in self._holders:
            self._holders[taps] = _holders(backbone, taps)
            self._turned[taps] = [channels_last(backbone, tap) for tap in taps]
        state = (
            *[module.training for module in self._holders[taps]],
            *[number for hooks in self._hooks if hooks for number in hooks],
        )
        versions = self._versions.setdefault((taps, task), {})
        if state not in versions:
            if len(versions) == MOST_VERSIONS:
                return None
            # with fullgraph neither a break in the graph nor dynamo's limit of versions goes unnoticed
            versions[state] = torch.compile(
                write_pass(backbone, taps), fullgraph=True, dynamic=False, backend=self.backend
            )
        return versions[state]

    def _warn_once(self, kind: tuple[Any, ...]) -> None:
        self._eager.add(kind)
        *_, taps, task = kind
        if (taps, task) in self._warned:
            return
        self._warned.add((taps, task))
        log.warning(
            "The pass of the backbone to %s%s was compiled as often as torch.compile allows, each time for another "
            "shape of images or other settings of its layers. Images of %s now go through it uncompiled, more slowly: "
            "give all batches one size, or leave compilation off.",
            ", ".join(taps),
            f" for task {task!r}" if task else "",
            tuple(kind[0]),
        )


def require_compiler(device: torch.device) -> None:
    """Compile something small, so that a machine without a compiler is told of at once.

    Raises:
        ModelError: It does not work.
    """
    try:
        _try_compiler(device.type)
    except Exception as error:
        needs = "a C++ compiler" if device.type == "cpu" else "Triton and a C compiler"
        raise ModelError(
            f"torch.compile does not work on this machine for {device.type}: {_reason(error)} It needs {needs}; "
            "install it, or leave compilation off."
        ) from error


@cache
def _try_compiler(device: str) -> None:
    torch.compile(_small, fullgraph=True, dynamic=False)(torch.zeros(2, device=device))


def _small(numbers: Tensor) -> Tensor:
    return numbers.sin() + 1


def _holders(backbone: nn.Module, taps: Sequence[str]) -> list[nn.Module]:
    """The modules that the taps lie within, each once; the backbone first."""
    steps = [tap.split(".") for tap in taps]
    paths = dict.fromkeys(".".join(path[:depth]) for path in steps for depth in range(len(path)))
    return [backbone.get_submodule(path) for path in paths]


def _not_compiled(backbone: nn.Module, error: Exception) -> ModelError:
    return ModelError(
        f"The backbone ({type(backbone).__name__}) cannot be compiled: {_reason(error)} Leave compilation off."
    )


def _reason(error: Exception) -> str:
    """What matters of dynamo's long texts, as a sentence."""
    cause = getattr(error, "inner_exception", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()] or [type(cause).__name__]
    explained = [line for line in lines[1:] if line.startswith("Explanation: ")]
    reason = shorten("; ".join([lines[0].rstrip("."), *explained[:1]]), LONGEST_REASON, placeholder=" ...")
    return reason if reason.endswith(".") else f"{reason}."
