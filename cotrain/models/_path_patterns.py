"""Parameters by patterns of paths: what is frozen, and what is reset."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from cotrain.errors import ModelError, did_you_mean


def matching(module: nn.Module, patterns: Sequence[str], *, what: str, where: str = "the backbone") -> list[str]:
    """Names of the parameters and buffers that patterns choose.

    Args:
        module: Whose state is looked at.
        patterns: As in the shell: `*` stands for any text, also with dots. A pattern that fits the path of a module
            chooses all that is in it ("layer1", "features.[0-4]"); else it must fit a name ("*.bias").
        what: The setting's name, for the error.
        where: What the module is called there.

    Raises:
        ModelError: A pattern chooses nothing.
    """
    names = list(module.state_dict())
    owners = [with_owners(name) for name in names]
    chosen: set[str] = set()
    for pattern in patterns:
        found = {names[i] for i, paths in enumerate(owners) if any(fnmatchcase(path, pattern) for path in paths)}
        if not found:
            known = sorted(
                {path for paths in owners for path in paths if path.count(".") <= max(1, pattern.count("."))}
            )
            raise ModelError(f"{what}: nothing in {where} fits {pattern!r}.{did_you_mean(pattern, known)}")
        chosen |= found
    return [name for name in names if name in chosen]


def freeze(module: nn.Module, patterns: Sequence[str]) -> None:
    """Parameters that patterns choose get no gradient; running statistics are the business of `batch_norm`.

    Raises:
        ModelError: A pattern chooses nothing, or buffers only.
    """
    parameters = dict(module.named_parameters())
    for pattern in patterns:
        chosen = [parameters[name] for name in matching(module, [pattern], what="freeze") if name in parameters]
        if not chosen:
            raise ModelError(
                f"freeze: {pattern!r} fits running statistics only, which batch_norm='frozen' of the model keeps."
            )
        for parameter in chosen:
            parameter.requires_grad_(False)


def chosen_parameters(module: nn.Module, patterns: Sequence[str], *, what: str) -> dict[str, nn.Parameter]:
    """Parameters of a whole model that patterns choose, as `matching` does, by name in the model's order.

    Raises:
        ModelError: A pattern chooses nothing, or buffers only.
    """
    parameters = dict(module.named_parameters())
    chosen: set[str] = set()
    for pattern in patterns:
        found = set(matching(module, [pattern], what=what, where="the model")) & set(parameters)
        if not found:
            raise ModelError(f"{what}: {pattern!r} fits no parameter of the model, only what it counts along.")
        chosen |= found
    return {name: parameter for name, parameter in parameters.items() if name in chosen}


def with_owners(name: str) -> list[str]:
    """A dotted name after those of all that it lies in, the outermost first."""
    steps = name.split(".")
    return [".".join(steps[:end]) for end in range(1, len(steps) + 1)]
