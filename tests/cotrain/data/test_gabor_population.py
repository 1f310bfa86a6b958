"""The simulated neurons show the textbook behaviour of V1, and nothing leaks between images or neurons."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cotrain.data import _gabor_population
from cotrain.data._gabor_population import GaborPopulation, mean_responses, sample_population, spike_counts
from cotrain.data._natural_patches import natural_patches
from cotrain.errors import DataError

SIZE = 32
FEW = settings(max_examples=10, deadline=None)
ORIENTATIONS = st.floats(0.0, np.pi, exclude_max=True)
FREQUENCIES = st.floats(2.5, 6.0)
PHASES = st.floats(0.0, 2.0 * np.pi, exclude_max=True)


def cell(**changes) -> GaborPopulation:
    """One neuron in the middle of the image."""
    values = {
        "x": 0.0,
        "y": 0.0,
        "orientation": 0.0,
        "frequency": 4.0,
        "sd": 0.83 / changes.get("frequency", 4.0),
        "phase": 0.0,
        "complexity": 1.0,
        "gain": 5.0,
        "baseline": 0.1,
    }
    return GaborPopulation(**{name: np.array([value]) for name, value in (values | changes).items()})


def luminance(waves) -> np.ndarray:
    """uint8 images of contrasts -1..1."""
    return np.rint(127.5 * (1.0 + np.asarray(waves))).astype(np.uint8)[:, None]


def wave(orientation=0.0, frequency=4.0, phase=0.0, contrast=0.9, height=SIZE, width=SIZE) -> np.ndarray:
    """A grating, its phase counted at the centre of the image."""
    y, x = np.mgrid[:height, :width] * 2.0 / SIZE
    x, y = x - x.mean(), y - y.mean()
    carrier = np.pi * frequency * (x * np.cos(orientation) + y * np.sin(orientation)) + phase
    return contrast * np.cos(carrier)


def driven(population, waves, **options) -> np.ndarray:
    """Responses of a single neuron above its baseline."""
    return mean_responses(population, luminance(waves), **options)[:, 0] - population.baseline[0]


def noise(number, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (number, 1, SIZE, SIZE), np.uint8)


@FEW
@given(ORIENTATIONS, FREQUENCIES, st.floats(0.0, 1.0), PHASES)
def test_tuned_to_its_orientation(orientation, frequency, complexity, phase):
    neuron = cell(orientation=orientation, frequency=frequency, complexity=complexity, phase=phase)
    turns = np.linspace(-np.pi / 2, np.pi / 2, 25)
    responses = driven(neuron, [wave(orientation + turn, frequency, phase) for turn in turns])
    assert abs(turns[responses.argmax()]) <= np.radians(8)
    assert responses[[0, -1]].max() < 0.05 * responses.max()


@FEW
@given(ORIENTATIONS, FREQUENCIES)
def test_tuned_to_its_frequency(orientation, frequency):
    octaves = np.linspace(-1.0, 1.0, 17)
    waves = [wave(orientation, frequency * 2.0**octave) for octave in octaves]
    responses = driven(cell(orientation=orientation, frequency=frequency), waves, normalisation=0.0)
    assert abs(octaves[responses.argmax()]) <= 0.25
    assert responses[[0, -1]].max() < 0.25 * responses.max()


@FEW
@given(ORIENTATIONS, FREQUENCIES, PHASES)
def test_only_a_complex_cell_ignores_phase(orientation, frequency, phase):
    phases = phase + np.arange(16) * np.pi / 8
    waves = [wave(orientation, frequency, shift) for shift in phases]
    settings_ = {"orientation": orientation, "frequency": frequency, "phase": phase}
    complex_ = driven(cell(complexity=1.0, **settings_), waves)
    simple = driven(cell(complexity=0.0, **settings_), waves)
    assert np.ptp(complex_) < 0.1 * complex_.mean()
    assert simple.argmax() == 0  # at its own phase
    assert simple[8] == 0.0  # in counterphase: half-rectified
    mixed = driven(cell(complexity=0.5, **settings_), waves)
    assert np.ptp(complex_) < np.ptp(mixed) < np.ptp(simple)


@FEW
@given(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), ORIENTATIONS)
def test_sees_only_its_receptive_field(x, y, orientation):
    down, across = (np.mgrid[:SIZE, :SIZE] + 0.5) * 2.0 / SIZE - 1.0
    places = [(x, y), (x - np.copysign(0.7, x), y), (x, y - np.copysign(0.7, y))]
    windows = [np.exp(-((across - a) ** 2 + (down - b) ** 2) / (2 * 0.1**2)) for a, b in places]
    waves = [wave(orientation) * window for window in windows]
    here, *elsewhere = driven(cell(x=x, y=y, orientation=orientation), waves, normalisation=0.0)
    assert max(elsewhere) < 0.1 * here


def test_images_wider_than_high_keep_their_geometry():
    waves = [wave(turn, height=32, width=48) for turn in (0.0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)]
    assert driven(cell(orientation=np.pi / 4), waves).argmax() == 1
    square = driven(cell(), [wave()])
    np.testing.assert_allclose(driven(cell(), [wave(width=48)]), square, rtol=0.05)


@FEW
@given(ORIENTATIONS, FREQUENCIES, st.floats(0.0, 1.0))
def test_contrast_saturates(orientation, frequency, complexity):
    neuron = cell(orientation=orientation, frequency=frequency, complexity=complexity)
    contrasts = np.array([0.05, 0.1, 0.2, 0.45, 0.9])
    waves = [wave(orientation, frequency, contrast=contrast) for contrast in contrasts]
    normalised, plain = driven(neuron, waves), driven(neuron, waves, normalisation=0.0)
    assert np.all(np.diff(normalised) > 0.0)
    assert normalised[-1] / normalised[-2] < 1.1
    assert plain[-1] / plain[-2] == pytest.approx(4.0, rel=0.05)  # the square of contrast
    assert np.all(normalised < plain)
    # Half of the largest response at about 10 % contrast, as in V1.
    assert normalised[0] < 0.5 * normalised[-1] < normalised[2]


def test_an_orthogonal_mask_suppresses():
    target, mask = wave(contrast=0.2), wave(np.pi / 2, contrast=0.6)
    alone, masked = driven(cell(), [target, target + mask])
    assert masked < 0.7 * alone
    alone, masked = driven(cell(), [target, target + mask], normalisation=0.0)
    assert masked == pytest.approx(alone, rel=0.1)


@FEW
@given(st.integers(0, 255))
def test_blank_images_leave_the_baseline(level):
    population = sample_population(7, seed=0)
    blank = np.full((2, 1, SIZE, SIZE), level, np.uint8)
    np.testing.assert_allclose(mean_responses(population, blank), [population.baseline] * 2, rtol=1e-12)


def test_plain_luminance_around_the_receptive_field_drives_nothing():
    step = np.where(np.arange(SIZE) < 8, -1.0, 0.9) * np.ones((SIZE, 1))
    # At the right border, which cuts the envelope, and four wavelengths away from the step.
    neuron = cell(x=0.9, frequency=6.0, sd=0.15)
    dark, bright, grating = driven(neuron, [-step, step, wave(0.0, 6.0)], normalisation=0.0)
    assert max(dark, bright) < 1e-3 * grating


def test_complex_cells_ignore_the_sign_of_contrast():
    # What no linear model of the pixels can do.
    population = dataclasses.replace(sample_population(20, seed=0), complexity=np.ones(20))
    images = natural_patches(50, SIZE, seed=0).images
    np.testing.assert_allclose(mean_responses(population, images), mean_responses(population, 255 - images), rtol=1e-9)


@FEW
@given(st.integers(0, 10**6), st.data())
def test_images_and_neurons_do_not_touch_each_other(seed, data):
    population, images = sample_population(6, seed=seed), noise(8, seed)
    everything = mean_responses(population, images)
    chosen = data.draw(st.lists(st.integers(0, 7), min_size=1, max_size=8))
    np.testing.assert_allclose(mean_responses(population, images[chosen]), everything[chosen], rtol=1e-9)
    kept = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=6))
    fewer = GaborPopulation(**{name: values[kept] for name, values in vars(population).items()})
    np.testing.assert_allclose(mean_responses(fewer, images), everything[:, kept], rtol=1e-9)


def test_chunks_join_without_a_seam(monkeypatch):
    population, images = sample_population(5, seed=0), noise(7)
    whole = mean_responses(population, images)
    monkeypatch.setattr(_gabor_population, "_IMAGES_AT_ONCE", 3)
    np.testing.assert_allclose(mean_responses(population, images), whole, rtol=1e-9)


def test_no_images_give_no_responses():
    assert mean_responses(sample_population(3, seed=0), noise(0)).shape == (0, 3)


@FEW
@given(st.integers(1, 40), st.integers(0, 10**6))
def test_sampled_parameters_lie_in_their_ranges(neurons, seed):
    first, again = sample_population(neurons, seed=seed), sample_population(neurons, seed=seed)
    for name, values in vars(first).items():
        assert values.shape == (neurons,)
        assert values.dtype == np.float64
        np.testing.assert_array_equal(values, getattr(again, name))
    assert np.all(np.abs([first.x, first.y]) <= 1.0)
    assert np.all((first.orientation >= 0.0) & (first.orientation < np.pi))
    assert np.all((first.phase >= 0.0) & (first.phase < 2.0 * np.pi))
    assert np.all((first.complexity >= 0.0) & (first.complexity <= 1.0))
    assert not np.array_equal(first.x, sample_population(neurons, seed=seed + 1).x)


@pytest.mark.parametrize("seed", range(4))
def test_counts_on_natural_patches_resemble_v1(seed):
    images = natural_patches(800, SIZE, seed=seed).images
    responses = mean_responses(sample_population(150, seed=seed), images)
    means = responses.mean(axis=0)
    assert responses.dtype == np.float64
    assert responses.min() > 0.0
    assert 2.0 < means.mean() < 4.0
    assert np.mean((means > 0.3) & (means < 10.0)) > 0.95
    assert np.mean(responses.std(axis=0) / means > 0.3) > 0.95
    # Vinje & Gallant 2000, Science 287: lifetime sparseness, 0 for equal responses to all, 1 for one image only.
    sparseness = (1.0 - means**2 / (responses**2).mean(axis=0)) / (1.0 - 1.0 / len(images))
    assert 0.4 < np.median(sparseness) < 0.75


def test_counts_are_poisson():
    means = np.random.default_rng(0).uniform(0.3, 8.0, (40, 30))
    counts = spike_counts(means, 400, seed=1)
    assert counts.shape == (40, 400, 30)
    assert counts.dtype == np.float32
    assert np.all((counts >= 0.0) & (counts == np.round(counts)))
    counts = counts.astype(np.float64)
    # Standard errors: means to sqrt(8 / 400) = 0.14, one Fano factor to about 0.09, their mean to 0.003.
    assert np.abs(counts.mean(axis=1) - means).max() < 0.14 * 5
    fano = counts.var(axis=1, ddof=1) / counts.mean(axis=1)
    assert abs(fano.mean() - 1.0) < 0.015
    assert np.abs(fano - 1.0).max() < 0.5
    # Neurons of one presentation are independent given the image.
    residuals = ((counts - means[:, None]) / np.sqrt(means[:, None])).reshape(-1, 30)
    correlations = np.corrcoef(residuals.T)[np.triu_indices(30, 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(len(residuals))


def test_seed_decides_the_counts():
    means = np.full((5, 4), 3.0)
    np.testing.assert_array_equal(spike_counts(means, 6, seed=2), spike_counts(means, 6, seed=2))
    assert not np.array_equal(spike_counts(means, 6, seed=2), spike_counts(means, 6, seed=3))


@pytest.mark.parametrize(
    ("images", "text"),
    [
        (np.zeros((2, 1, SIZE, SIZE)), r"must be uint8 \(images, 1, height, width\), found float64"),
        (np.zeros((2, 3, SIZE, SIZE), np.uint8), r"found uint8 \(2, 3, 32, 32\)"),
        (np.zeros((SIZE, SIZE), np.uint8), r"found uint8 \(32, 32\)"),
        (np.zeros((2, 1, SIZE, 8), np.uint8), r"at least 12 pixels a side .*, found 32 x 8"),
    ],
)
def test_unfit_images(images, text):
    with pytest.raises(DataError, match=text):
        mean_responses(sample_population(2, seed=0), images)


def test_a_neuron_finer_than_the_pixels():
    with pytest.raises(DataError, match=r"The finest filter has 20\.0 cycles per image.* at least 40 pixels"):
        mean_responses(cell(frequency=20.0), noise(1))


@pytest.mark.parametrize("normalisation", [-0.1, np.nan, np.inf])
def test_unfit_normalisation(normalisation):
    with pytest.raises(DataError, match=r"normalisation is .*, it must be a finite number of at least 0"):
        mean_responses(cell(), noise(1), normalisation=normalisation)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"x": np.zeros(2)}, r"one entry a neuron in every field, found shapes .*'x': \(2,\)"),
        ({"sd": np.zeros(1)}, "frequency, sd and baseline must be above 0"),
        ({"frequency": np.array([np.nan])}, "frequency, sd and baseline must be above 0"),
        ({"complexity": np.array([1.1])}, r"complexity must lie in 0\.\.1"),
        ({"gain": np.array([-1.0])}, "gain must be at least 0"),
    ],
)
def test_unfit_population(changes, text):
    with pytest.raises(DataError, match=text):
        dataclasses.replace(cell(), **changes)


@pytest.mark.parametrize("empty", [np.zeros(0), np.zeros((1, 1)), 1.0])
def test_population_without_a_neuron_axis(empty):
    with pytest.raises(DataError, match="one entry a neuron"):
        GaborPopulation(*[empty] * 9)


def test_too_few_neurons_or_repeats():
    with pytest.raises(DataError, match="neurons is 0, a population needs at least 1"):
        sample_population(0, seed=0)
    with pytest.raises(DataError, match="repeats is 0, at least 1 presentation"):
        spike_counts(np.ones((1, 1)), 0, seed=0)


@pytest.mark.parametrize("means", [np.array([[-1.0]]), np.array([[np.nan]]), np.array([[np.inf]]), np.ones(3)])
def test_unfit_means(means):
    with pytest.raises(DataError, match=r"means must be \(images, neurons\), finite and at least 0"):
        spike_counts(means, 1, seed=0)
