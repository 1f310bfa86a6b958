"""Training with a compiled backbone, or with its memory in another order, is the same training up to rounding."""

from __future__ import annotations

import pytest
import torch

from cotrain import run
from cotrain.training import MonitorConfig


def losses(result):
    scores = result.scores[result.scores.metric == "loss"]
    return scores.set_index(["epoch", "task", "session", "split"]).value.sort_index()


def test_the_order_in_memory_changes_neither_key_nor_result(tiny, tmp_path):
    plain, turned = (tiny(epochs=2, monitor=MonitorConfig(), channels_last=held) for held in (False, True))
    assert plain.key() == turned.key()
    found, expected = (losses(run(held, out=tmp_path / str(held.trainer.channels_last))) for held in (turned, plain))
    assert found.index.equals(expected.index)
    assert found.values == pytest.approx(expected.values, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_compiled_training_is_that_of_the_loop_and_goes_on_exactly(
    precision, tiny, tmp_path, compiling, pull_plug, assert_same_run
):
    """With the compiler that users get; numbers drawn in training (places of readouts) are the same."""
    options = {"epochs": 2, "monitor": MonitorConfig(), "precision": precision}
    compiled = tiny(**options, compile=True)
    assert compiled.key() == tiny(**options).key()
    found = losses(run(compiled, out=tmp_path / "compiled"))
    expected = losses(run(tiny(**options), out=tmp_path / "plain"))
    assert found.values == pytest.approx(expected.values, rel=0.02 if precision == "float32" else 0.1)
    torch.compiler.reset()
    pull_plug(compiled, tmp_path / "cut", after=13)
    torch.compiler.reset()
    run(compiled, out=tmp_path / "cut")
    assert_same_run(tmp_path / "cut", tmp_path / "compiled")
