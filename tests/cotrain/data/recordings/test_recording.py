"""Sessions average and count their repeats, and say which part of them does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cotrain.data._image_files import ImageFiles
from cotrain.data.recordings import Recording, Session
from cotrain.errors import DataError

NAN = np.nan


def session(**changes) -> Session:
    base = Session(
        stimuli=("a", "b", "c"),
        responses=np.arange(6, dtype=np.float32).reshape(3, 2),
        images=np.zeros((3, 4, 5), np.uint8),
        split=("train", "validation", "test"),
        conditions={"object": ("x", "y", "y")},
        neurons={"depth": (1.0, 2.0)},
    )
    return replace(base, **changes)


@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=3, max_dims=3, max_side=5),
        elements=st.one_of(st.just(np.float32(np.nan)), st.floats(-100, 100, width=32)),
    )
)
def test_mean_and_repeats_agree_with_a_loop(responses):
    held = Session(tuple(map(str, range(len(responses)))), responses)
    for row, stimulus in enumerate(responses):
        assert held.repeats[row] == sum(not all(np.isnan(repeat)) for repeat in stimulus)
        for neuron in range(responses.shape[2]):
            known = [float(value) for value in stimulus[:, neuron] if not np.isnan(value)]
            expected = sum(known) / len(known) if known else np.nan
            np.testing.assert_allclose(held.mean[row, neuron], expected, rtol=1e-5, atol=1e-4)


def test_responses_without_repeats_are_their_own_mean():
    held = session()
    assert held.mean is held.responses
    assert held.repeats.tolist() == [1, 1, 1]


def test_whole_sessions_pass():
    files = ImageFiles((Path("1.png"), Path("1.png"), Path("2.png")))
    recording = Recording({"s": session(), "t": session(images=files), "u": session(images=None)}, "spikes")
    assert recording.window_ms is None


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"responses": np.zeros((3, 2))}, r"must be float32 .* found float64 \(3, 2\)"),
        ({"responses": np.zeros((3, 0), np.float32)}, "must be float32"),
        ({"responses": np.zeros((4, 2), np.float32)}, "3 stimuli but responses to 4"),
        ({"stimuli": ("a", "b", "b")}, "stand more often: b"),
        ({"responses": np.array([[1, 2], [3, np.inf], [5, 6]], np.float32)}, "neuron 1 in row 1 is infinite"),
        ({"responses": np.array([[1, NAN], [3, NAN], [5, NAN]], np.float32)}, r"no response at all .* neurons \[1\]"),
        ({"responses": np.array([[1, 2], [NAN, NAN], [5, 6]], np.float32)}, "1 stimuli have no response.*: b"),
        ({"images": np.zeros((2, 4, 5), np.uint8)}, "3 stimuli but 2 images"),
        ({"images": ImageFiles((Path("1.png"),))}, "3 stimuli but 1 images"),
        ({"images": np.zeros((3, 4, 5))}, "images must be uint8"),
        ({"images": np.zeros((3, 4, 5, 1), np.uint8)}, "images must be uint8"),
        ({"split": ("train",)}, "3 stimuli but 1 entries"),
        ({"split": ("train", "val", "test")}, "found val"),
        ({"conditions": {"object": ("x",)}}, "3 stimuli but 1 values of 'object'"),
        ({"neurons": {"depth": (1.0,)}}, "2 neurons but 1 values of 'depth'"),
        ({"neurons": {"depth": (1.0, "deep")}}, "'depth' must be texts or numbers, found both"),
    ],
)
def test_parts_that_do_not_fit_are_named(changes, text):
    with pytest.raises(DataError, match=f"session s: .*{text}"):
        Recording({"s": session(**changes)}, "spikes")


def test_recordings_need_sessions_and_a_window_with_a_length():
    with pytest.raises(DataError, match="at least one session"):
        Recording({}, "spikes")
    with pytest.raises(DataError, match="begin before it ends"):
        Recording({"s": session()}, "spikes", (100.0, 40.0))
