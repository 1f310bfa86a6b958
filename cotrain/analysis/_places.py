"""What a network computes, by name: found in a trial pass, picked up in every other one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cotrain.errors import ModelError
from cotrain.models import channels_last

Run = Callable[[Tensor], object]
Part = tuple[str | int, ...]


@dataclass(frozen=True)
class Place:
    """One tensor that a pass gives.

    Args:
        name: "layer1.0.relu", "layer1.0.relu#2" for the second time that a pass uses the module, "lstm[1][0]" for a
            part of what it gives.
        path: The module's; of a module that has several, the first.
        call: Which use of the module in a pass, from 1.
        part: Keys that lead to the tensor in what the module gives; empty where that is a tensor.
        shape: Of one image's features, channels first.
        axis: Along which the images lie.
        turned: Whether the module gives maps with their channels last.
        seen: Whether it is the very tensor that an earlier place gave, unchanged.
    """

    name: str
    path: str
    call: int
    part: Part
    shape: tuple[int, ...]
    axis: int
    turned: bool
    seen: bool

    @property
    def features(self) -> int:
        """How many there are for one image."""
        return int(torch.Size(self.shape).numel())

    def pick(self, output: object, images: int) -> Tensor:
        """The tensor as (images, *shape), still the network's own.

        Raises:
            ModelError: It has another shape than in the trial pass.
        """
        for key in self.part:
            output = output[key]  # type: ignore[index]
        if not isinstance(output, Tensor) or output.ndim <= self.axis:
            raise ModelError(f"The layer {self.name!r} gave a tensor in the trial pass, but no longer.")
        found = _images_first(output, self.axis, self.turned)
        if tuple(found.shape) != (images, *self.shape):
            raise ModelError(
                f"The layer {self.name!r} gave features of shape {self.shape} in the trial pass, now "
                f"{tuple(found.shape)} for {images} images. Show images of one size."
            )
        return found


@dataclass(frozen=True)
class Trial:
    """What a pass goes through.

    Args:
        places: In the order in which a pass has them.
        others: {name of a place that has no axis of images: its shape}.
        aliases: {a further path of a module: its first one}.
        largest: Bytes of the largest single tensor for one image.
    """

    places: tuple[Place, ...]
    others: Mapping[str, tuple[int, ...]]
    aliases: Mapping[str, str]
    largest: int


def try_out(network: nn.Module, run: Run, image: Tensor) -> Trial:
    """Pass one image, and then it and itself again, through a network: what doubles is the axis of images.

    Args:
        network: In evaluation mode.
        run: Passes images through it.
        image: (1, ...).

    Raises:
        ModelError: The image does not pass.
    """
    single = _watched(network, run, image)
    double = _watched(network, run, torch.cat([image, image]))
    places, others, largest = [], {}, 0
    for key, (one, seen) in single.items():
        if key not in double:
            continue
        path, call, part = key
        name = path + (f"#{call}" if call > 1 else "") + "".join(f"[{step}]" for step in part)
        largest = max(largest, 4 * one.numel())
        axis = _axis(one, double[key][0])
        if axis is None:
            others[name] = tuple(one)
            continue
        turned = len(one) == 4 and axis == 0 and not part and channels_last(network, path)
        shape = (one[3], *one[1:3]) if turned else (*one[:axis], *one[axis + 1 :])
        places.append(Place(name, path, call, part, shape, axis, turned, seen))
    first: dict[int, str] = {}
    aliases = {}
    for path, module in network.named_modules(remove_duplicate=False):
        if first.setdefault(id(module), path) != path:
            aliases[path] = first[id(module)]
    return Trial(tuple(places), others, aliases, largest)


class _Done(Exception):
    """Ends a pass after the last place that is wanted."""


def pass_through(
    network: nn.Module, run: Run, images: Tensor, wanted: Sequence[Place], take: Callable[[Place, Tensor], None]
) -> None:
    """Pass images up to the last of some places, and hand over what each of them gives, at once and still in use.

    Raises:
        ModelError: A place was not reached.
    """
    at: dict[str, list[Place]] = {}
    for place in wanted:
        at.setdefault(place.path, []).append(place)
    missing = {place.name for place in wanted}
    calls: Counter[str] = Counter()

    def look(path: str, output: object) -> None:
        calls[path] += 1
        for place in at[path]:
            if place.call == calls[path]:
                take(place, place.pick(output, len(images)))
                missing.discard(place.name)
        if not missing:
            raise _Done

    with _hooks(network, list(at), look):
        try:
            run(images)
        except _Done:
            return
    raise ModelError(f"The forward pass never reached {', '.join(sorted(missing))}, as it had in the trial pass.")


Found = dict[tuple[str, int, Part], tuple[torch.Size, bool]]


def _watched(network: nn.Module, run: Run, images: Tensor) -> Found:
    """{(path, call, part): (shape, whether an earlier tensor is this one)} of all that a pass gives."""
    found: Found = {}
    held: list[Tensor] = []  # or another would get the id of one that is gone
    calls: Counter[str] = Counter()
    versions: dict[int, int] = {}

    def look(path: str, output: object) -> None:
        calls[path] += 1
        for part, tensor in _tensors(output):
            seen = versions.get(id(tensor)) == tensor._version
            versions[id(tensor)] = tensor._version
            held.append(tensor)
            found[path, calls[path], part] = (tensor.shape, seen)

    paths = [path for path, _ in network.named_modules() if path]
    with _hooks(network, paths, look), torch.no_grad():  # inference mode does not count changes in place
        try:
            run(images)
        except (RuntimeError, AssertionError, ValueError, TypeError) as error:
            raise ModelError(
                f"Images of shape {tuple(images.shape[1:])} do not pass through the network: {error}"
            ) from error
    return found


@contextmanager
def _hooks(network: nn.Module, paths: Sequence[str], look: Callable[[str, object], None]) -> Iterator[None]:
    handles = []
    try:
        for path in paths:
            module = network.get_submodule(path)
            handles.append(module.register_forward_hook(lambda _m, _i, output, path=path: look(path, output)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _tensors(output: Any, part: Part = ()) -> Iterator[tuple[Part, Tensor]]:
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield part, output
    elif isinstance(output, Mapping):
        for key in output:
            if isinstance(key, (str, int)):
                yield from _tensors(output[key], (*part, key))
    elif isinstance(output, (tuple, list)):
        for number, value in enumerate(output):
            yield from _tensors(value, (*part, number))


def _axis(one: torch.Size, two: torch.Size) -> int | None:
    """The axis that went from 1 to 2 while all others stayed."""
    if len(one) != len(two):
        return None
    changed = [axis for axis, sizes in enumerate(zip(one, two, strict=True)) if sizes[0] != sizes[1]]
    return changed[0] if len(changed) == 1 and (one[changed[0]], two[changed[0]]) == (1, 2) else None


def _images_first(output: Tensor, axis: int, turned: bool) -> Tensor:
    return output.permute(0, 3, 1, 2) if turned and output.ndim == 4 else output.movedim(axis, 0)
