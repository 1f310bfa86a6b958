"""What to tell when a loss is no number any more."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from cotrain.models import MultiTaskModel
from cotrain.training._sinks import Score

NAMED = 3


def not_finite(model: MultiTaskModel, task: str, session: str, epoch: int, history: Sequence[Score]) -> str:
    """Where a loss is not finite, since when, and what to do.

    Args:
        model: As it stands.
        task, session: Whose loss it is.
        epoch: In which that was found.
        history: All scores so far.
    """
    where = f"task {task!r}" + (f", session {session!r}" if session else "")
    losses = [s for s in history if (s.task, s.session, s.metric) == (task, session, "loss") and math.isfinite(s.value)]
    last = f" Its last finite value was {losses[-1].value:.4g} ({losses[-1].split}, epoch {losses[-1].epoch})."
    broken = [name for name, parameter in model.named_parameters() if not bool(torch.isfinite(parameter).all())]
    more = f" and {len(broken) - NAMED} more" if len(broken) > NAMED else ""
    weights = f" Weights that are not finite: {', '.join(broken[:NAMED])}{more}." if broken else ""
    return (
        f"The loss of {where}, at the tap {', '.join(map(repr, model.taps[task]))}, is not finite in epoch {epoch}."
        f"{last if losses else ''}{weights} Training stops; earlier checkpoints are kept. Lower the learning rate, or "
        "set clip_norm."
    )
