"""A student takes over a teacher's geometry from an RDM alone, for images that it never saw: a smaller benchmark."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "rdm_recovery.py"
SEEDS = range(5)


@pytest.fixture(scope="module")
def recovered():
    spec = importlib.util.spec_from_file_location("rdm_recovery", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = script  # its dataclass looks itself up
    spec.loader.exec_module(script)
    script.IMAGES = 48
    yield {condition: [script.recovery(condition, seed, steps=30) for seed in SEEDS] for condition in script.CONDITIONS}
    del sys.modules[spec.name]


def spearman(found):
    return np.array([one.spearman for one in found])


@pytest.mark.parametrize(
    ("loss", "control"),
    [("1 - Pearson", "no loss"), ("1 - Pearson", "shuffled teacher"), ("raw MSE", "shuffled teacher")],
)
def test_held_out_geometry_is_nearer_than_without_and_than_with_a_shuffled_teacher(recovered, loss, control):
    """In each of five seeds; by chance alone once in 32 times."""
    gain = spearman(recovered[loss]) - spearman(recovered[control])
    assert gain.min() > 0
    assert gain.mean() > 0.1


def test_the_squared_difference_of_a_noisy_recording_is_level_before_anything_is_learnt(recovered):
    for one in recovered["no loss"]:
        assert one.parts.offset > one.parts.shape
    for one in recovered["raw MSE"]:
        assert one.parts.offset < one.parts.shape
