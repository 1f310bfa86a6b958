"""Half precision: passes in it, everything that is stored in float32, and resuming that keeps the scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cotrain import run
from cotrain.errors import TrainingError
from cotrain.losses import GradientAggregationConfig
from cotrain.training import load_state
from cotrain.training._precision import HalfPrecision, as_float32, half_precision
from cotrain.training._state import TrainingState


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_passes_are_in_half_precision_and_weights_and_losses_are_not(precision, tiny, tmp_path, monkeypatch):
    forward, met = TrainingState.losses, []

    def watched(self, batch, images, targets, seed):
        layer = self.model.backbone.get_submodule("layer1.0")
        handle = layer.register_forward_hook(lambda *call: met.append(call[2].dtype))
        found = forward(self, batch, images, targets, seed)
        handle.remove()
        assert {value.dtype for value in found} == {torch.float32}
        return found

    monkeypatch.setattr(TrainingState, "losses", watched)
    result = run(tiny(precision=precision, epochs=2), out=tmp_path)
    assert set(met) == {getattr(torch, precision)}
    assert {value.dtype for value in result.model.state_dict().values() if value.is_floating_point()} == {torch.float32}
    losses = result.scores[result.scores.metric == "loss"].value
    assert np.isfinite(losses).all()


def test_half_precision_learns_as_float32_does(digits, tmp_path):
    scores = {}
    for precision in ("float32", "bfloat16", "float16"):
        found = run(digits(precision=precision, epochs=4), out=tmp_path / precision).scores
        scores[precision] = found[
            (found.split == "validation") & (found.metric == "loss") & (found.epoch == 4)
        ].value.item()
    assert scores["bfloat16"] != scores["float32"] != scores["float16"]
    assert scores["bfloat16"] == pytest.approx(scores["float32"], rel=0.1)
    assert scores["float16"] == pytest.approx(scores["float32"], rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_an_interruption_leaves_no_trace(precision, tiny, tmp_path, pull_plug, assert_same_run):
    experiment = tiny(precision=precision, epochs=2)
    run(experiment, out=tmp_path / "whole")
    for after in (9, 14):
        pull_plug(experiment, tmp_path / "cut", after=after)
    run(experiment, out=tmp_path / "cut")
    assert_same_run(tmp_path / "cut", tmp_path / "whole")
    if precision == "float16":
        newest = max((tmp_path / "cut" / "checkpoints").iterdir())
        assert load_state(newest)["precision"]["scale"] > 0


def test_scaled_gradients_give_the_steps_of_plain_ones(digits, tmp_path, monkeypatch, states):
    """The arithmetic in float32, the gradients scaled: clipping and penalties see their true size."""
    plain = states(digits(epochs=1, clip_norm=0.5), tmp_path / "plain")
    monkeypatch.setattr(HalfPrecision, "autocast", lambda self: torch.autocast("cpu", enabled=False))
    scaled = states(digits(epochs=1, clip_norm=0.5, precision="float16"), tmp_path / "scaled")
    last = max(plain)
    for name, value in plain[last]["model"].items():
        torch.testing.assert_close(scaled[last]["model"][name], value, rtol=1e-4, atol=1e-5)


def test_float16_and_weights_of_gradients_are_refused_together(tiny, tmp_path):
    weighting = GradientAggregationConfig()
    with pytest.raises(TrainingError, match=r"'float16' scales gradients, .* Use 'bfloat16' or 'float32' with them"):
        run(tiny(precision="float16", weighting=weighting), out=tmp_path)
    run(tiny(precision="bfloat16", weighting=weighting, epochs=1), out=tmp_path)


def test_outputs_of_several_layers_are_float32():
    half = torch.zeros(2, dtype=torch.bfloat16)
    assert [part.dtype for part in as_float32((half, half))] == [torch.float32] * 2
    assert as_float32(torch.zeros(2, dtype=torch.int64)).dtype == torch.int64
    assert half_precision("float32", torch.device("cpu")) is None
