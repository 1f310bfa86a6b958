"""Lottery tickets: the smallest weights are pruned round by round, and the rest begins anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor

from cotrain.config import Config
from cotrain.errors import TrainingError
from cotrain.models import chosen_parameters
from cotrain.training._durations import Duration
from cotrain.training._hooks import Hook, Training
from cotrain.training._sinks import Score
from cotrain.training._writer import copied
from cotrain.training.hooks._freeze import Patterns


class LotteryTicketConfig(Config):
    """Iterative magnitude pruning with rewinding (Frankle & Carbin 2019, ICLR; Frankle et al. 2020, ICML).

    After each round the smallest of the weights that are left become 0 for good, the other parameters and the
    statistics go back to an early step of training, and the optimiser forgets. After the last round the ticket is
    trained for the epochs that are left. The best epoch is one of those since the last pruning, by the monitor's
    rule: it forgets the epochs of denser networks, which would often score better. The learning rate goes on by its
    schedule; one that repeats every `epochs_a_round` epochs, or a constant one, suits rounds best.
    """

    kind: ClassVar[str] = "cotrain.training.hooks.lottery_ticket"
    parameters: Patterns = ("backbone",)  # shell patterns over the model's names; tensors of one dimension are kept
    pruned: Annotated[float, Gt(0), Lt(1)] = 0.8  # share of these weights that are 0 after the last round
    rounds: Annotated[int, Ge(1)] = 5  # each prunes the share 1 - (1 - pruned)^(1 / rounds) of what is left
    epochs_a_round: Annotated[int, Ge(1)] = 10
    scope: Literal["global", "layer"] = "global"  # whether the smallest of all layers are pruned, or of each layer
    rewind: Literal["none"] | Duration = "0st"  # to the weights after so long; "0st": the first ones


class LotteryTicket(Hook):
    """Masks are applied to gradients and to weights: neither momentum nor weight decay moves a pruned weight."""

    def __init__(self, config: LotteryTicketConfig) -> None:
        self.config = config
        self.round = 0
        self.early: dict[str, Tensor] | None = None  # the model's state to go back to

    def start(self, training: Training) -> None:
        """Find the weights.

        Raises:
            ModelError: A pattern chooses nothing.
            TrainingError: There is nothing to prune, or the trainer's config leaves no time for all rounds.
        """
        config, self.training = self.config, training
        chosen = chosen_parameters(training.model, config.parameters, what="lottery_ticket")
        self.weights = {name: p for name, p in chosen.items() if p.ndim > 1 and p.requires_grad}
        if not self.weights:
            raise TrainingError(
                f"lottery_ticket: {', '.join(config.parameters)} chooses no weights that learn and have two dimensions "
                "or more. Name others."
            )
        before_last, epochs = config.rounds * config.epochs_a_round, training.timeline.epochs
        if epochs <= before_last:
            raise TrainingError(
                f"lottery_ticket: {config.rounds} rounds of {config.epochs_a_round} epochs, and at least one epoch "
                f"after the last pruning, need {before_last + 1} epochs; the trainer has {epochs}."
            )
        if training.monitor.config.patience is not None:
            raise TrainingError(
                "lottery_ticket trains all its rounds, but monitor.patience may end training in one of them. Set it "
                "to None."
            )
        self.rewind_step = None if config.rewind == "none" else training.timeline.in_steps(config.rewind)
        if (self.rewind_step or 0) >= config.epochs_a_round * training.timeline.steps_an_epoch:
            raise TrainingError(f"lottery_ticket: rewind={config.rewind!r} is not within the first round.")
        self.masks = {name: torch.ones_like(weight) for name, weight in self.weights.items()}

    def epoch_start(self, epoch: int) -> None:
        """Remember the first weights; between two rounds, prune and rewind."""
        if epoch == 1 and self.rewind_step == 0:
            self.early = copied(self.training.model.state_dict())
        rounds, into = divmod(epoch - 1, self.config.epochs_a_round)
        if into == 0 and 1 <= rounds <= self.config.rounds:
            self._prune(rounds)

    def gradients(self) -> None:
        """Pruned weights have none, so that no momentum gathers."""
        if self.round:
            held = [(p.grad, self.masks[name]) for name, p in self.weights.items() if p.grad is not None]
            if held:
                torch._foreach_mul_([grad for grad, _ in held], [mask for _, mask in held])

    def step_end(self, step: int) -> None:
        """Pruned weights stay 0; remember early ones."""
        if self.round:
            self._mask()
        elif step == self.rewind_step:
            self.early = copied(self.training.model.state_dict())

    def epoch_end(self, epoch: int) -> Sequence[Score]:
        """The share of the weights that are pruned."""
        kept, size = self._kept(), sum(weight.numel() for weight in self.weights.values())
        return [Score(epoch, "", "", "train", "sparsity", 1 - kept / size)]

    def state_dict(self) -> dict[str, Any]:
        """Round, masks, and what to go back to."""
        return {"round": self.round, "masks": {n: mask.bool() for n, mask in self.masks.items()}, "early": self.early}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.round, self.early = state["round"], state["early"]
        for name, mask in self.masks.items():
            mask.copy_(state["masks"][name])

    def _kept(self) -> int:
        return sum(int(mask.count_nonzero()) for mask in self.masks.values())

    @torch.no_grad()
    def _mask(self) -> None:
        torch._foreach_mul_(list(self.weights.values()), list(self.masks.values()))

    @torch.no_grad()
    def _prune(self, number: int) -> None:
        left = (1 - self.config.pruned) ** (number / self.config.rounds)
        groups = [list(self.weights)] if self.config.scope == "global" else [[name] for name in self.weights]
        for names in groups:
            size = torch.cat([self.weights[name].detach().abs().flatten() for name in names])
            mask = torch.cat([self.masks[name].flatten() for name in names])
            # those that are pruned already come first, whatever their size
            order = torch.where(mask > 0, size, -1.0).argsort(stable=True)
            mask[order[: len(mask) - round(left * len(mask))]] = 0
            for name, piece in zip(names, mask.split([self.weights[n].numel() for n in names]), strict=True):
                self.masks[name].copy_(piece.view_as(self.masks[name]))
        self.round = number
        if self.early is not None:
            self.training.model.load_state_dict(self.early)
        self._mask()
        self.training.optimiser.state.clear()
        self.training.monitor.forget()


def lottery_ticket(config: LotteryTicketConfig) -> Hook:
    """The hook of a config."""
    return LotteryTicket(config)
