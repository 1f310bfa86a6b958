"""Simulated neurons of primary visual cortex: Gabor energy with divisive normalisation, and Poisson counts."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from cotrain.errors import DataError

_LOWEST, _HIGHEST = 2.0, 6.0  # cycles per image, of sampled neurons and of the normalisation pool
_SEMISATURATION = 0.07  # σ, as contrast: full gratings then reach half of the largest response near 0.1
_POOL_SD = 0.4  # image coordinates: how far from its receptive field a neuron is suppressed
_POOL_SELF = 0.2  # share of the neuron itself in its pool; bounds the response to images of one edge
_IMAGES_AT_ONCE = 1024  # bounds the memory for the filters' outputs


@dataclass(frozen=True)
class GaborPopulation:
    """Parameters of simulated V1 neurons: float64 (neurons,) each.

    x, y: centre of the receptive field, in image coordinates: (0, 0) is the image's centre, x grows rightwards
        and y downwards, and the shorter side of the image spans -1 to 1.
    orientation: rad in [0, π), the direction in which luminance varies, from x towards y: 0 prefers vertical
        bars.
    frequency: preferred cycles per image (per shorter side).
    sd: standard deviation of the round Gaussian envelope, in image coordinates.
    phase: rad in [0, 2π), of the carrier at the centre: 0 is an even filter with a bright middle.
    complexity: 0 for a simple cell, 1 for a complex one, mixed in between.
    gain: spikes per presentation for each unit of normalised drive.
    baseline: spikes per presentation without any drive, above 0.

    Raises DataError where the arrays are not of one axis and one length of at least 1, or hold impossible values.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    orientation: NDArray[np.float64]
    frequency: NDArray[np.float64]
    sd: NDArray[np.float64]
    phase: NDArray[np.float64]
    complexity: NDArray[np.float64]
    gain: NDArray[np.float64]
    baseline: NDArray[np.float64]

    def __post_init__(self) -> None:
        shapes = {field.name: np.shape(getattr(self, field.name)) for field in fields(self)}
        if len(set(shapes.values())) != 1 or len(shapes["x"]) != 1 or shapes["x"] == (0,):
            raise DataError(f"A population needs one entry a neuron in every field, found shapes {shapes}.")
        if not all(np.all(above > 0.0) for above in (self.frequency, self.sd, self.baseline)):
            raise DataError("frequency, sd and baseline must be above 0 for every neuron.")
        if not np.all((self.complexity >= 0.0) & (self.complexity <= 1.0) & (self.gain >= 0.0)):
            raise DataError("complexity must lie in 0..1 and gain must be at least 0 for every neuron.")


def sample_population(neurons: int, *, seed: int) -> GaborPopulation:
    """Draw a population whose counts on natural patches resemble V1 in a window of about 100 ms.

    Same arguments, same population. Raises DataError where `neurons` is below 1.
    """
    if neurons < 1:
        raise DataError(f"neurons is {neurons}, a population needs at least 1.")
    random = np.random.default_rng(seed)
    frequency = np.exp(random.uniform(np.log(_LOWEST), np.log(_HIGHEST), neurons))
    return GaborPopulation(
        x=random.uniform(-0.5, 0.5, neurons),
        y=random.uniform(-0.5, 0.5, neurons),
        orientation=random.uniform(0.0, np.pi, neurons),
        frequency=frequency,
        sd=_envelope_sd(frequency, random.uniform(1.1, 1.7, neurons)),
        phase=random.uniform(0.0, 2.0 * np.pi, neurons),
        # Two humps, at simple and at complex, as in Skottun et al. 1991, Vision Research 31.
        complexity=random.beta(0.5, 0.5, neurons),
        gain=7.0 * np.exp(random.normal(0.0, 0.4, neurons)),
        baseline=random.uniform(0.2, 0.8, neurons),
    )


def mean_responses(
    population: GaborPopulation, images: NDArray[np.uint8], *, normalisation: float = 1.0
) -> NDArray[np.float64]:
    """Expected spike count per presentation, float64 (images, neurons), above 0.

    `images`: uint8 (images, 1, height, width), grey. Every image is taken alone: the others in the array make
    no difference, nor do the other neurons.

    With e and o the outputs of the even and the odd filter of a neuron (`_filters`), on luminance contrast
    around the image's mean, the drive is
        simple:  D = max(0, e cos(phase) - o sin(phase))²   (half-squaring)
        complex: D = (e² + o²) / 4   (energy; the mean of four half-squared simple cells in quadrature)
    mixed by `complexity`, and the count is
        R = baseline + gain · D / (σ² + normalisation · P)   (n = 2 of the source: D is squared already)
    with P the pool: the mean complex drive of a fixed bank of Gabors of all orientations around the receptive
    field, and the neuron's own D in a small part. So `normalisation` 0 is the plain energy model, whose counts
    grow with the square of contrast.

    Sources: energy, Adelson & Bergen 1985, J. Opt. Soc. Am. A 2:284; half-squaring and normalisation, Heeger
    1992, "Normalization of cell responses in cat striate cortex", Visual Neuroscience 9:181; the last formula,
    Carandini & Heeger 2012, Nature Reviews Neuroscience 13:51, eq. 10.

    Raises DataError for images of another type or shape, for a negative `normalisation`, and for images with
    too few pixels to draw the finest filter.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != 1:
        raise DataError(f"images must be uint8 (images, 1, height, width), found {images.dtype} {images.shape}.")
    if not (np.isfinite(normalisation) and normalisation >= 0.0):
        raise DataError(f"normalisation is {normalisation}, it must be a finite number of at least 0.")
    height, width = images.shape[2:]
    finest = max(_HIGHEST, *population.frequency.tolist())
    if min(height, width) < 2.0 * finest:
        raise DataError(
            f"The finest filter has {finest:.1f} cycles per image, for which images need at least "
            f"{int(np.ceil(2.0 * finest))} pixels a side (two a cycle), found {height} x {width}."
        )
    bank = _pool_bank()
    neurons, pool = _filters(population, height, width), _filters(bank, height, width)
    distance = (bank.x[:, None] - population.x) ** 2 + (bank.y[:, None] - population.y) ** 2
    weights = np.exp(-distance / (2.0 * _POOL_SD**2))
    weights *= (1.0 - _POOL_SELF) / weights.sum(axis=0)
    responses = np.empty((len(images), len(population.x)))
    for start in range(0, len(images), _IMAGES_AT_ONCE):
        chosen = slice(start, start + _IMAGES_AT_ONCE)
        pixels = images[chosen].reshape(-1, height * width) / 127.5
        contrast = pixels - pixels.mean(axis=1, keepdims=True)
        even, odd = (contrast @ part.T for part in neurons)
        simple = np.maximum(even * np.cos(population.phase) - odd * np.sin(population.phase), 0.0) ** 2
        energy = (even**2 + odd**2) / 4.0
        drive = (1.0 - population.complexity) * simple + population.complexity * energy
        surround = ((contrast @ pool[0].T) ** 2 + (contrast @ pool[1].T) ** 2) / 4.0
        pooled = surround @ weights + _POOL_SELF * drive
        normalised = drive / (_SEMISATURATION**2 / 4.0 + normalisation * pooled)
        responses[chosen] = population.baseline + population.gain * normalised
    return responses


def spike_counts(means: NDArray[np.float64], repeats: int, *, seed: int) -> NDArray[np.float32]:
    """Draw independent Poisson counts around `means` (images, neurons): float32 (images, repeats, neurons).

    Raises DataError where a mean is negative or not finite, or `repeats` is below 1.
    """
    if repeats < 1:
        raise DataError(f"repeats is {repeats}, at least 1 presentation of each image is needed.")
    if means.ndim != 2 or not np.all(np.isfinite(means) & (means >= 0.0)):
        raise DataError(f"means must be (images, neurons), finite and at least 0, found shape {means.shape}.")
    shape = (means.shape[0], repeats, means.shape[1])
    return np.random.default_rng(seed).poisson(means[:, None], shape).astype(np.float32)


def _filters(cells: GaborPopulation, height: int, width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The even and the odd Gabor of each cell, (cells, height * width) each.

    Scaled so that a large grating of the preferred frequency and orientation, of contrast c, gives outputs of
    amplitude c. So filters of all frequencies respond alike to natural images, whose amplitude falls as 1/f
    (Field 1987, J. Opt. Soc. Am. A 4:2379).
    """
    shorter = min(height, width)
    down, across = (
        (axis.ravel() + 0.5 - length / 2) * (2.0 / shorter)
        for axis, length in zip(np.indices((height, width)), (height, width), strict=True)
    )
    x, y = across - cells.x[:, None], down - cells.y[:, None]
    angle = cells.orientation[:, None]
    envelope = np.exp(-(x**2 + y**2) / (2.0 * cells.sd[:, None] ** 2))
    envelope /= envelope.sum(axis=1, keepdims=True)
    # π and not 2π: the shorter side is two units of image coordinates long.
    carrier = np.exp(1j * np.pi * cells.frequency[:, None] * (x * np.cos(angle) + y * np.sin(angle)))
    # Without this, both would answer to plain luminance, above all where the border cuts the envelope.
    carrier -= (envelope * carrier).sum(axis=1, keepdims=True)
    gabor = 2.0 * envelope * carrier
    return gabor.real, gabor.imag


def _envelope_sd(frequency: NDArray[np.float64], octaves: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """The envelope for a full bandwidth in octaves at half height; in V1 about 1.4.

    The median is from De Valois, Albrecht & Thorell 1982, Vision Research 22:545.
    """
    ratio = 2.0 ** np.asarray(octaves, np.float64)
    cycles: NDArray[np.float64] = np.sqrt(np.log(2.0) / 2.0) / np.pi * (ratio + 1.0) / (ratio - 1.0)
    return cycles * 2.0 / frequency  # the shorter side is two units of image coordinates long


def _pool_bank() -> GaborPopulation:
    """The normalisation pool: complex cells of 6 orientations and 3 frequencies at 5 x 5 places."""
    frequencies, places = np.geomspace(_LOWEST, _HIGHEST, 3), np.linspace(-0.6, 0.6, 5)
    grid = np.meshgrid(places, places, np.arange(6) * np.pi / 6.0, frequencies, indexing="ij")
    x, y, orientation, frequency = (axis.ravel() for axis in grid)
    one = np.ones_like(x)
    return GaborPopulation(x, y, orientation, frequency, _envelope_sd(frequency, 1.4), 0.0 * one, one, one, one)
