"""Batch norm with statistics of its own for each task, or frozen.

Tasks that alternate show the backbone images of different brightness, contrast and content. A batch norm that they
share is trained with the statistics of one task's batch and evaluated with a blend of all tasks': what was learnt and
what is tested differ.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import batch_norm
from torch.nn.modules.batchnorm import _BatchNorm

from cotrain.errors import ModelError, did_you_mean
from cotrain.models._path_patterns import with_owners


class TaskBatchNorm(nn.Module):
    """One gain and bias for all tasks; running mean and variance for each.

    Args:
        norm: The batch norm that it stands for; its parameters are taken over, and its statistics for each task.
        tasks: Their names.
    """

    def __init__(self, norm: nn.BatchNorm2d, tasks: Sequence[str]) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        self.eps, self.momentum = norm.eps, norm.momentum
        self.active = tasks[0]
        for task in tasks:  # by name: a state must not load into a model whose tasks stand in another order
            self.register_buffer(f"mean_{task}", norm.get_buffer("running_mean").clone())
            self.register_buffer(f"variance_{task}", norm.get_buffer("running_var").clone())

    def forward(
        self, features: Float[Tensor, "images channels height width"]
    ) -> Float[Tensor, "images channels height width"]:
        """Normalised by the batch in training, by the active task's running statistics in evaluation."""
        return batch_norm(
            features,
            getattr(self, f"mean_{self.active}"),
            getattr(self, f"variance_{self.active}"),
            self.weight,
            self.bias,
            self.training,
            0.1 if self.momentum is None else self.momentum,
            self.eps,
        )


def per_task(network: nn.Module, tasks: Sequence[str]) -> None:
    """Replace every batch norm of a network, in place; one without any (ConvNeXt, ViT, Swin) stays as it is."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, TaskBatchNorm(child, tasks))


class FrozenBatchNorm(nn.BatchNorm2d):
    """A batch norm that training does not change: loaded statistics normalise, gain and bias get no gradient.

    The names of its state are those of the batch norm that it stands for.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self._parameters, self._buffers = norm._parameters, norm._buffers
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> FrozenBatchNorm:
        """Stays in evaluation."""
        return super().train(False)


def freeze_norms(network: nn.Module) -> None:
    """Replace every batch norm of a network, in place, by a frozen one."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, FrozenBatchNorm(child))


def task_norms(network: nn.Module) -> list[TaskBatchNorm]:
    """Those of a network."""
    return [module for module in network.modules() if isinstance(module, TaskBatchNorm)]


def activate(norms: list[TaskBatchNorm], task: str) -> None:
    """Say whose statistics come next."""
    for norm in norms:
        norm.active = task


def batch_norms(network: nn.Module) -> dict[str, nn.Module]:
    """{path: batch norm} of a network, of one task each or of all."""
    return {path: m for path, m in network.named_modules() if isinstance(m, (_BatchNorm, TaskBatchNorm))}


def chosen_batch_norms(network: nn.Module, patterns: Sequence[str], *, what: str) -> dict[str, nn.Module]:
    """{path: batch norm} of those that patterns choose.

    Args:
        network: Any.
        patterns: As in the shell; a pattern that fits the path of a module chooses all norms in it.
        what: The setting's name, for the error.

    Raises:
        ModelError: A pattern chooses none.
    """
    found, known = dict[str, nn.Module](), batch_norms(network)
    for pattern in patterns:
        fits = {p: m for p, m in known.items() if any(fnmatchcase(owner, pattern) for owner in with_owners(p))}
        if not fits:
            raise ModelError(
                f"{what}: no batch norm of the model fits {pattern!r}.{did_you_mean(pattern, list(known))}"
            )
        found |= fits
    return found


@contextmanager
def keeping_statistics(norms: Collection[nn.Module]) -> Iterator[None]:
    """For passes in training mode that normalise by the batch and leave the running statistics as they are."""
    held = [(norm, norm.momentum) for norm in norms if isinstance(norm, TaskBatchNorm)]
    others = [norm for norm in norms if isinstance(norm, _BatchNorm) and norm.track_running_stats and norm.training]
    try:
        for norm, _ in held:
            norm.momentum = 0.0
        for other in others:
            other.track_running_stats = False
        yield
    finally:
        for norm, momentum in held:
            norm.momentum = momentum
        for other in others:
            other.track_running_stats = True
