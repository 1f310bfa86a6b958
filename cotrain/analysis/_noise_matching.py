"""A network's features given the noise of a recording, as Cadieu et al. do before they compare the two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cotrain.errors import DataError

Features = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class RecordingNoise:
    """Noise whose standard deviation grows with the response: (slope * x + offset) / root(repeats) of a mean x.

    The defaults are those of the IT multi-unit recording of Cadieu et al. 2014 (PLoS Computational Biology
    10:e1003963), in whose normalised units the responses must be.
    """

    slope: float = 0.14
    offset: float = 0.92
    repeats: int = 47


def match_noise(
    features: Features, responses: Features, noise: RecordingNoise, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Features with the variance that the responses' signal has, and with noise as the recording's.

    The responses' variance over all entries, less the mean noise variance, is taken for that of the signal; features
    are scaled to it by one number, and noise by their new values is added.

    Args:
        features: (images, features).
        responses: (images, neurons), means over the repeats.
        noise: Of the recording.
        generator: Of the noise.

    Raises:
        DataError: The responses vary less than their noise alone would, or all features are equal.
    """
    variance = float(np.mean((noise.slope * responses + noise.offset) ** 2)) / noise.repeats
    signal = float(np.var(responses)) - variance
    spread = float(np.var(features))
    if signal <= 0:
        raise DataError(
            f"The responses' variance {np.var(responses):.4g} is not above that of their noise alone, {variance:.4g}: "
            "these are not the units of RecordingNoise. Give its constants for this recording, or noise=None."
        )
    if spread == 0:
        raise DataError("All features are equal, so they cannot be scaled to the variance of a recording.")
    scaled = np.asarray(features, dtype=np.float64) * (signal / spread) ** 0.5
    drawn = generator.standard_normal(scaled.shape)
    noisy: NDArray[np.float64] = scaled + (noise.slope * scaled + noise.offset) * drawn / noise.repeats**0.5
    return noisy
