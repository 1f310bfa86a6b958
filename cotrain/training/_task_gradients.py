"""Each task's own gradient of the shared backbone, kept apart until the optimiser steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cotrain.config import Config
from cotrain.errors import TrainingError
from cotrain.losses import Weighting, require_comparable_losses
from cotrain.models import MultiTaskModel
from cotrain.training._parts import build_part


class TaskGradients:
    """Takes the gradients of tasks one by one and sums them with weights.

    Only the backbone's are weighted: heads and objectives belong to one task each, and keep its gradient as it is.

    Args:
        backbone: Its parameters that learn.
        tasks: All tasks, the main one first.
        weighting: Of the gradients; None: each counts 1.
    """

    def __init__(self, backbone: Iterable[nn.Parameter], tasks: Sequence[str], weighting: Weighting | None) -> None:
        self.tasks, self.weighting = list(tasks), weighting
        self.shared = [parameter for parameter in backbone if parameter.requires_grad]
        if not self.shared:
            raise TrainingError("The backbone is frozen, so there are no shared gradients to weight or compare.")
        like, number = self.shared[0], sum(parameter.numel() for parameter in self.shared)
        self.rows = like.new_zeros(len(self.tasks), number, requires_grad=False)
        self.joined = like.new_zeros(number, requires_grad=False)
        self._row_views = [self._views(row) for row in self.rows]
        self._joined_views = self._views(self.joined)
        self._reached: dict[str, list[bool]] = {}
        self._losses: dict[str, list[Tensor]] = {}
        # of the epoch so far, over the steps in which two tasks met: STEPS, WEIGHT, NORM, COSINE, LOG_RATIO
        self.sums = torch.zeros(5, len(self.tasks), len(self.tasks), dtype=torch.float64, device=like.device)

    def backward(self, task: str, term: Tensor) -> None:
        """Take the gradient of one batch's term; heads and objectives get theirs as ever."""
        views = self._row_views[self.tasks.index(task)]
        reached = self._reached.get(task)
        for place, parameter in enumerate(self.shared):
            parameter.grad = views[place] if reached is not None and reached[place] else None
        term.backward()
        if reached is None:  # what lies behind the task's tap gets no gradient, and must not be stepped with zero
            self._reached[task] = [parameter.grad is not None for parameter in self.shared]
            for view, parameter in zip(views, self.shared, strict=True):
                if parameter.grad is not None:
                    view.add_(parameter.grad)
        for parameter in self.shared:
            parameter.grad = None
        self._losses.setdefault(task, []).append(term.detach())

    def begin_epoch(self) -> None:
        """Look anew at what each task's gradient reaches: layers may have been frozen or thawed."""
        self._reached.clear()

    def of_this_step(self) -> list[Tensor]:
        """The gradients of the tasks that had a batch since the last step, and their losses: what ranks average."""
        rows = [self.rows[place] for place, task in enumerate(self.tasks) if task in self._losses]
        return [*rows, *(loss for task in self.tasks for loss in self._losses.get(task, ()))]

    def join(self) -> None:
        """Give the backbone the weighted sum of the gradients since the last step."""
        present = [place for place, task in enumerate(self.tasks) if task in self._losses]
        rows = self.rows if len(present) == len(self.tasks) else self.rows[present]
        gramian = (rows @ rows.T).double()
        if self.weighting is None:
            weights = torch.ones(len(present), dtype=torch.float64, device=rows.device)
        else:
            losses = torch.stack([torch.stack(self._losses[self.tasks[place]]).mean() for place in present])
            weights = self.weighting.weights(present, losses, gramian).to(gramian)
        torch.mv(rows.T, weights.to(rows), out=self.joined)
        met = [self._reached[self.tasks[place]] for place in present]
        for place, (parameter, view) in enumerate(zip(self.shared, self._joined_views, strict=True)):
            parameter.grad = view if any(reached[place] for reached in met) else None
        self._count(present, weights, gramian)
        self.rows.zero_()
        self._losses.clear()

    def end_epoch(self, losses: Mapping[str, float], *, pairs: bool) -> list[tuple[str, str, float]]:
        """Tell the weighting {task: mean unweighted training loss}, and give the scores of the epoch."""
        if self.weighting is not None:
            self.weighting.end_epoch(losses)
        return list(self._scores(pairs=pairs))

    def _scores(self, *, pairs: bool) -> Iterator[tuple[str, str, float]]:
        """(task, metric, value) of the epoch so far, means over optimiser steps; then count anew.

        `gradient_weight` of each task, where there is a weighting. With `pairs` also `gradient_norm`, and for each
        task and each one before it, over the steps that both had a batch in: `gradient_cosine:other`, and
        `gradient_norm_ratio:other`, the geometric mean of |own| / |other|.
        """
        steps, weight, norm, cosine, log_ratio = self.sums.cpu().unbind()
        for place, task in enumerate(self.tasks):
            if (count := float(steps[place, place])) == 0:
                continue
            if self.weighting is not None:
                yield task, "gradient_weight", float(weight[place, place]) / count
            if not pairs:
                continue
            yield task, "gradient_norm", float(norm[place, place]) / count
            for before, other in enumerate(self.tasks[:place]):
                if together := float(steps[place, before]):
                    yield task, f"gradient_cosine:{other}", float(cosine[place, before]) / together
                    ratio = torch.exp(log_ratio[place, before] / together)
                    yield task, f"gradient_norm_ratio:{other}", float(ratio)
        self.sums.zero_()

    def state_dict(self) -> dict[str, Any]:
        """All that changes while training, between two optimiser steps."""
        return {"sums": self.sums.cpu(), "weighting": self.weighting.state_dict() if self.weighting else {}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.sums.copy_(state["sums"])
        if self.weighting is not None:
            self.weighting.load_state_dict(state["weighting"])

    def _count(self, present: list[int], weights: Tensor, gramian: Tensor) -> None:
        norms = gramian.diagonal().clamp_min(torch.finfo(torch.float64).tiny).sqrt()
        column = norms[:, None].expand_as(gramian)
        values = [
            torch.ones_like(gramian),
            weights[:, None].expand_as(gramian),
            column,
            gramian / (column * norms),
            column.log() - norms.log(),
        ]
        where = torch.tensor(present, device=gramian.device)
        self.sums[:, where[:, None], where] += torch.stack(values)

    def _views(self, flat: Tensor) -> list[Tensor]:
        pieces = flat.split([parameter.numel() for parameter in self.shared])
        return [piece.view_as(parameter) for piece, parameter in zip(pieces, self.shared, strict=True)]


def task_gradients(
    weighting: Config | None, model: MultiTaskModel, tasks: Sequence[str], *, main: str, scores: bool
) -> TaskGradients | None:
    """What keeps gradients apart, where weights or scores of them are asked for.

    Args:
        weighting: Its config, or None.
        model: Whose backbone is shared.
        tasks: Those of the data.
        main: The main task of the mixing, which comes first.
        scores: Whether scores of the gradients are wanted.

    Raises:
        TrainingError: The config is of no weighting, or the weighting cannot be used with these objectives.
    """
    if weighting is None and not scores:
        return None
    in_order = [main, *(task for task in tasks if task != main)]
    built: Weighting | None = None
    if weighting is not None:
        built = build_part(weighting, "weighting", Weighting, in_order)
        require_comparable_losses(built, dict(model.objectives.items()))
    return TaskGradients(model.backbone.parameters(), in_order, built)
