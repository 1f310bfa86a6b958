"""Models that start from the weights of a finished run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import MinLen
from torch import Tensor

from cotrain.chains import RunReference, resolved
from cotrain.config import Config
from cotrain.errors import ModelError
from cotrain.models import MultiTaskModel, matching
from cotrain.resolve import AnyConfig, build
from cotrain.tasks import DataInfo
from cotrain.training._checkpoint import load_state
from cotrain.training._needed import finished_folder

log = logging.getLogger(__name__)

COUNTER = ".num_batches_tracked"  # no batch norm that has a momentum uses it
STATISTICS = (("mean_", "running_mean"), ("variance_", "running_var"))  # one a task; one for all tasks


class StartFromConfig(Config):
    """A model whose backbone, or any other part, starts from the best epoch of a finished run.

    Patterns are as in the shell, over the names in the model's state: "backbone", "backbone.layer[1-3]", "heads.v4",
    "*.bias", "*" for everything.
    """

    kind: ClassVar[str] = "cotrain.training.start_from"
    model: AnyConfig  # of any model builder; made as always, and then loaded
    run: RunReference  # the finished run whose weights are loaded
    parameters: Annotated[tuple[str, ...], MinLen(1)] = ("backbone",)  # patterns of what is loaded
    exclude: tuple[str, ...] = ()  # patterns of what is not, though `parameters` names it
    required: bool = True
    """Whether each tensor that is chosen must be in the run, in the same shape; else a warning lists what stays new."""


def start_from(info: DataInfo, config: StartFromConfig, *, seed: int) -> MultiTaskModel:
    """Build `config.model`, and load into it what patterns choose from a finished run.

    Statistics of batch norm are named by task. Those of a task that the run lacks start from its first task's; a model
    with one set of statistics for all tasks takes the first task's, and gives its own to each task of another.

    Raises:
        MissingRunError: The run is not there.
        ModelError: A pattern chooses nothing, or the run lacks a tensor that is required, or has it in another shape.
    """
    model: MultiTaskModel = build(config.model, info, seed=seed)
    left_out = set(matching(model, config.exclude, what="exclude", where="the model"))
    names = [
        name
        for name in matching(model, config.parameters, what="parameters", where="the model")
        if name not in left_out
    ]
    if not names:
        raise ModelError("start_from: exclude leaves out all that parameters choose. Choose something to start from.")
    source: Mapping[str, Tensor] = load_state(finished_folder(config.run, seed=seed).best)["model"]
    lacking: list[str] = []
    with torch.no_grad():
        targets: dict[str, Any] = model.state_dict()
        for name in names:
            held = source.get(name, source.get(_statistic(name, source)))
            if held is None:
                lacking += [] if name.endswith(COUNTER) else [name]
            elif held.shape != targets[name].shape:
                lacking.append(f"{name}, which is {tuple(held.shape)} there and {tuple(targets[name].shape)} here")
            else:
                targets[name].copy_(held)
    if lacking:
        found = (
            f"the run {resolved(config.run, seed=seed)} lacks {_some(lacking)} of {len(names)} tensors to start from"
        )
        if config.required or len(lacking) == len(names):
            raise ModelError(
                f"start_from: {found}. Give the model the architecture of that run, name other parameters, or set "
                "required=False."
            )
        log.warning("start_from: %s; these stay new: %s.", found, "; ".join(lacking))
    return model


def _statistic(name: str, source: Mapping[str, Tensor]) -> str:
    """The statistic of the source's batch norm that stands for one of the backbone's that it lacks; empty: none."""
    module, _, own = name.rpartition(".")
    for of_task, of_all in STATISTICS:
        if module.startswith("backbone") and (own == of_all or own.startswith(of_task)):
            held = (other for other in source if other.rpartition(".")[0] == module)
            wanted = (other for other in held if other == f"{module}.{of_all}" or _last(other).startswith(of_task))
            return next(wanted, "")
    return ""


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{len(names)} ({'; '.join(names[:3])}{more})"
