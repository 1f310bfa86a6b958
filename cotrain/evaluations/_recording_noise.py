"""Noise of a recording that features are given before the two are compared."""

from __future__ import annotations

from typing import Annotated, ClassVar

from annotated_types import Ge, Gt

from cotrain.analysis import RecordingNoise
from cotrain.config import Config


class RecordingNoiseConfig(Config):
    """Noise with the standard deviation (slope * x + offset) / root(repeats) of a mean response x.

    The defaults are those of the published scores: the IT recording of Cadieu et al. 2014, in its units.
    """

    kind: ClassVar[str] = "cotrain.evaluations.RecordingNoiseConfig"
    slope: Annotated[float, Ge(0)] = 0.14
    offset: Annotated[float, Gt(0)] = 0.92
    repeats: Annotated[int, Ge(1)] = 47


def recording_noise(config: RecordingNoiseConfig | None) -> RecordingNoise | None:
    """The same for `cotrain.analysis`; None: no noise."""
    return None if config is None else RecordingNoise(config.slope, config.offset, config.repeats)
