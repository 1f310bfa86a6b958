"""Durations have a unit, come to whole steps, and a wrong one is answered with the three forms."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cotrain.config import Config
from cotrain.errors import ConfigError, TrainingError
from cotrain.training import Duration, Interval, Timeline

FORMS = r'"10ep" \(epochs\), "500st" \(optimiser steps\) or "20000sa" \(stimuli of the main task\)'
WRONG = [
    "",
    "10",
    "ep",
    "10 ep",
    " 10ep",
    "10ep\n",
    "-1ep",
    "1.5ep",
    "1e3st",
    "010ep",
    "10EP",
    "10epochs",
    "٣ep",
    "9" * 16 + "st",
]


class LengthConfig(Config):
    """For these tests."""

    kind: ClassVar[str] = "cotrain.tests.LengthConfig"
    length: Duration = "0ep"
    every: Interval = "1st"


@pytest.mark.parametrize("text", ["0ep", "1ep", "10ep", "500st", "20000sa", "0sa"])
def test_the_three_forms_are_taken(text):
    assert LengthConfig(length=text).length == text
    assert LengthConfig.from_yaml(LengthConfig(length=text).to_yaml()).length == text


@pytest.mark.parametrize("text", WRONG)
def test_another_text_is_answered_with_the_forms(text):
    with pytest.raises(ConfigError, match=f"length: expected a duration such as {FORMS}, found "):
        LengthConfig(length=text)
    with pytest.raises(TrainingError, match=f"expected a duration such as {FORMS}, found "):
        Timeline(1, 1, 1).in_steps(text)


@pytest.mark.parametrize("text", ["0ep", "0st", "0sa"])
def test_an_interval_is_above_0(text):
    with pytest.raises(ConfigError, match=f"every: expected a duration above 0, such as {FORMS}, found '{text}'"):
        LengthConfig(every=text)


@given(
    epochs=st.integers(1, 500),
    steps=st.integers(1, 5000),
    samples=st.integers(1, 4096),
    count=st.integers(0, 10**9),
    before=st.integers(0, 300),
)
def test_durations_come_to_whole_steps(epochs, steps, samples, count, before):
    timeline = Timeline(epochs, steps, samples)
    assert timeline.steps == epochs * steps == timeline.in_steps(f"{epochs}ep")
    assert timeline.in_steps(f"{count}st") == count
    found = timeline.in_steps(f"{count}sa")
    assert type(found) is int and found == math.ceil(Fraction(count, samples))
    later = timeline.after(before)
    assert (later.steps, later.before) == (timeline.steps - before, before)
    assert [later.in_steps(text) for text in ("7ep", "7st", "7sa")] == [
        timeline.in_steps(text) for text in ("7ep", "7st", "7sa")
    ]
    assert later.after(3) == timeline.after(before + 3)


def test_where_sessions_differ_stimuli_go_by_the_mean():
    assert Timeline(2, 4, 12.5).in_steps("100sa") == 8
    assert Timeline(2, 4, 12.5).in_steps("101sa") == 9
