"""Weights from the Gramian of the tasks' gradients: Nash bargaining, and the aggregators of TorchJD by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import Tensor, nn

from cotrain.config import Config
from cotrain.errors import TrainingError, did_you_mean
from cotrain.losses._weighting import Weighting

DEFAULTS: Mapping[str, Mapping[str, float]] = {"CAGrad": {"c": 0.5}, "FairGrad": {"alpha": 1.0}}
NEWTON_STEPS = 100


class GradientAggregationConfig(Config):
    """Weights from products of the tasks' gradients, by an aggregator of TorchJD (`pip install 'cotrain[weighting]'`).

    Give objectives fixed weights, unless learned ones are meant to act as well. Methods that follow the smaller
    gradient (MGDA, IMTLG) may switch a task off whose loss has another unit.
    """

    kind: ClassVar[str] = "cotrain.losses.gradient_aggregation"
    method: str = "UPGrad"  # "PCGrad", "CAGrad", "MGDA", "AlignedMTL", "GradVac", "FairGrad", "IMTLG", "DualProj" ...
    options: tuple[tuple[str, float], ...] = ()  # arguments of the method by name, for example (("c", 0.4),)


class NashBargainingConfig(Config):
    """Every task gains in the same proportion: the weights w solve G w = 1 / w (Navon et al. 2022, ICML, equation 4).

    They are found anew in each step, as the minimum of a convex function, w'Gw / 2 - sum log w; then scaled to mean 1,
    since the solution shrinks where gradients are large.
    """

    kind: ClassVar[str] = "cotrain.losses.nash_bargaining"


class GradientAggregation(Weighting):
    """Weights of a `GradientAggregationConfig`. Each set of tasks that come together has a state of its own."""

    def __init__(self, tasks: Sequence[str], make: Callable[[], nn.Module]) -> None:
        super().__init__(tasks)
        self.make = make
        self.held: dict[tuple[int, ...], nn.Module] = {}

    def weights(self, present: Sequence[int], losses: Tensor, gramian: Tensor) -> Tensor:
        """As the method gives them; 1 for a task alone, and where gradients are not finite (the trainer tells)."""
        if len(present) == 1 or not bool(gramian.isfinite().all()):
            return torch.ones_like(losses)
        method = self.held.setdefault(tuple(present), self.make())
        weights: Tensor = method(gramian)
        return weights

    def state_dict(self) -> dict[str, Any]:
        """What the methods remember, for each set of tasks."""
        return {"methods": [[list(present), _memory(method)] for present, method in self.held.items()]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.held = {}
        for present, memory in state["methods"]:
            method = self.held[tuple(present)] = self.make()
            for name, value in memory.items():
                setattr(method, name, value)


class NashBargaining(Weighting):
    """Weights of a `NashBargainingConfig`."""

    def weights(self, present: Sequence[int], losses: Tensor, gramian: Tensor) -> Tensor:
        """Positive, mean 1."""
        return torch.from_numpy(nash_weights(gramian.cpu().numpy()))


def gradient_aggregation(tasks: Sequence[str], config: GradientAggregationConfig) -> GradientAggregation:
    """An aggregator of TorchJD for tasks.

    Raises:
        TrainingError: TorchJD or what the method needs is not installed, or there is no such method or option.
    """
    try:
        from torchjd import aggregation
    except ImportError:
        raise TrainingError(
            f"{config.kind} needs TorchJD, which is not installed. Install it: pip install 'cotrain[weighting]'."
        ) from None
    known = aggregation_methods(aggregation)
    if config.method not in known:
        raise TrainingError(
            f"TorchJD has no method {config.method!r} that weights gradients by their products; expected one of "
            f"{', '.join(known)} (Nash bargaining is cotrain.losses.nash_bargaining)."
            f"{did_you_mean(config.method, list(known))}"
        )
    kind = known[config.method]
    options: dict[str, Any] = {**DEFAULTS.get(config.method, {}), **dict(config.options)}
    options = {name: int(value) if value == int(value) else value for name, value in options.items()}
    parameters = inspect.signature(kind).parameters
    if unknown := set(options) - set(parameters):
        raise TrainingError(
            f"{config.method} has no option {', '.join(sorted(unknown))}; it has {', '.join(parameters) or 'none'}."
        )
    if "projector" in parameters:
        options["projector"] = dual_cone_projection

    def make() -> nn.Module:
        method: nn.Module = kind(**options).gramian_weighting
        return method

    try:
        make()
    except (ImportError, TypeError, ValueError) as error:
        raise TrainingError(f"{config.method} cannot be used: {error}") from None
    return GradientAggregation(tasks, make)


def nash_bargaining(tasks: Sequence[str], config: NashBargainingConfig) -> NashBargaining:  # noqa: ARG001 - no options
    """Nash bargaining among tasks."""
    return NashBargaining(tasks)


def aggregation_methods(aggregation: Any) -> dict[str, Callable[..., Any]]:
    """{name: class} of the aggregators in `torchjd.aggregation` that depend on the Gramian alone.

    Without Krum, which chooses among many workers of one task, and fails with fewer than three.
    """
    base = aggregation.GramianWeightedAggregator
    found = {name: getattr(aggregation, name) for name in aggregation.__all__}
    return {
        name: held
        for name, held in found.items()
        if inspect.isclass(held) and issubclass(held, base) and held is not base and name != "Krum"
    }


def dual_cone_projection(wanted: Tensor, gramian: Tensor) -> Tensor:
    """For each row u of `wanted` the v >= u that minimises v'Gv (Quinton & Rey 2024, arXiv 2406.16232, proposition 1).

    With v = u + z this is a non-negative least squares problem, so no further solver is needed, and gradients may be
    linearly dependent.

    Args:
        wanted: (..., tasks).
        gramian: (tasks, tasks).
    """
    root = _root(gramian.detach().cpu().double().numpy())
    rows = wanted.detach().cpu().double().numpy().reshape(-1, len(root))
    found = np.stack([row + nnls(root, -root @ row)[0] for row in rows])
    return torch.from_numpy(found).reshape(wanted.shape).to(gramian)


def nash_weights(gramian: NDArray[np.float64]) -> NDArray[np.float64]:
    """The positive w with G w = 1 / w, scaled to mean 1, by Newton's method with damped steps.

    A task without a gradient has nothing to bargain for: its weight is 1, and the mean that of the others.
    """
    weights = np.ones(len(gramian))
    size = np.sqrt(np.diag(gramian))
    bargain = np.flatnonzero(np.isfinite(size) & (size > 0))
    if len(bargain) == 0:
        return weights
    unit = size[bargain]
    # with gradients of length 1 the solution is near 1; the small number is for those that are opposite
    cosines = gramian[np.ix_(bargain, bargain)] / np.outer(unit, unit) + 1e-9 * np.eye(len(bargain))
    found = np.ones(len(bargain))
    for _ in range(NEWTON_STEPS):
        slope = cosines @ found - 1 / found
        step = np.linalg.solve(cosines + np.diag(found**-2.0), slope)
        decrement = float(np.sqrt(slope @ step))
        # - log is self-concordant: this step stays positive and always goes down (Nesterov & Nemirovskii 1994)
        found = found - step / (1 + decrement)
        if decrement < 1e-10:
            break
    found = found / unit
    weights[bargain] = found * len(found) / found.sum()
    return weights


def _root(gramian: NDArray[np.float64]) -> NDArray[np.float64]:
    """R with R'R = G."""
    values, vectors = np.linalg.eigh(gramian)
    return np.asarray(np.sqrt(np.maximum(values, 0))[:, None] * vectors.T)


def _memory(method: nn.Module) -> dict[str, Any]:
    """What a stateful method remembers: its buffers, and the number of tasks that they are for."""
    held: dict[str, Any] = dict(method.named_buffers())
    if held and hasattr(method, "_state_key"):
        held["_state_key"] = method._state_key
    return held
