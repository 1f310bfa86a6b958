"""Durations of training as text with a unit, and what they come to in optimiser steps."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import AfterValidator

from cotrain.errors import TrainingError

FORMS = '"10ep" (epochs), "500st" (optimiser steps) or "20000sa" (stimuli of the main task)'


def _parts(text: str) -> tuple[int, str]:
    found = re.fullmatch(r"(0|[1-9][0-9]{0,14})(ep|st|sa)", text, re.ASCII)
    if not found:
        raise ValueError(f"expected a duration such as {FORMS}")
    return int(found[1]), found[2]


def _duration(text: str) -> str:
    _parts(text)
    return text


def _interval(text: str) -> str:
    if _parts(text)[0] == 0:
        raise ValueError(f"expected a duration above 0, such as {FORMS}")
    return text


Duration = Annotated[str, AfterValidator(_duration)]
"""A field of text: "10ep" (epochs), "500st" (optimiser steps) or "20000sa" (stimuli of the main task)."""

Interval = Annotated[str, AfterValidator(_interval)]
"""A `Duration` above 0."""


@dataclass(frozen=True)
class Timeline:
    """How long training is.

    Args:
        epochs: Passes over the main task.
        steps_an_epoch: Optimiser steps an epoch.
        samples_a_step: Stimuli of the main task an optimiser step, of all ranks; their mean where sessions differ.
        before: Steps, counted from the start of training, after which this timeline begins: of `after`.

    >>> timeline = Timeline(epochs=30, steps_an_epoch=100, samples_a_step=128)
    >>> timeline.steps, timeline.in_steps("2ep"), timeline.in_steps("1000sa")
    (3000, 200, 8)
    """

    epochs: int
    steps_an_epoch: int
    samples_a_step: float
    before: int = 0

    @property
    def steps(self) -> int:
        """Optimiser steps from where this timeline begins to the end of training."""
        return self.epochs * self.steps_an_epoch - self.before

    def in_steps(self, duration: str) -> int:
        """Optimiser steps of a duration; stimuli are rounded up to whole steps.

        Raises:
            TrainingError: The text is no duration.
        """
        try:
            count, unit = _parts(duration)
        except ValueError as error:
            raise TrainingError(f"Durations: {error}, found {duration!r}.") from None
        if unit == "ep":
            return count * self.steps_an_epoch
        return count if unit == "st" else int(-(-count // self.samples_a_step))

    def after(self, steps: int) -> Timeline:
        """What is left after `steps` optimiser steps of this timeline; an epoch is as long as before."""
        return replace(self, before=self.before + steps)
