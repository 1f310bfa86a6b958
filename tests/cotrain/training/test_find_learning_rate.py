"""The learning-rate finder: an exponential sweep that touches no run."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from cotrain.cli import main
from cotrain.errors import TrainingError
from cotrain.training import LearningRates, SgdConfig, find_learning_rate
from cotrain.training._find_learning_rate import _steepest
from cotrain.training.hooks import FreezeConfig, ProfileConfig

STEPS = 40


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """An empty folder to be in; nothing may be written there."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def swept(digits):
    return find_learning_rate(digits(), lowest=1e-5, highest=1.0, steps=STEPS)


def test_rates_grow_by_a_constant_factor(swept):
    assert len(swept.rates) == len(swept.losses) == STEPS
    assert swept.rates[0] == pytest.approx(1e-5) and swept.rates[-1] == pytest.approx(1.0)
    factors = [after / before for before, after in itertools.pairwise(swept.rates)]
    assert factors == pytest.approx([1e5 ** (1 / (STEPS - 1))] * (STEPS - 1))


def test_the_suggestion_is_a_rate_at_which_the_digits_are_learnt(swept):
    assert 1e-3 < swept.suggestion < 0.5
    assert min(swept.losses) < 0.8 * swept.losses[0]
    assert swept.losses[0] == pytest.approx(math.log(10), abs=0.5)


def test_it_is_repeatable_and_leaves_no_trace(digits, swept, nowhere):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    again = find_learning_rate(digits(hooks=(ProfileConfig(wait=0),)), lowest=1e-5, highest=1.0, steps=STEPS)
    assert again == swept
    assert torch.equal(torch.get_rng_state(), before)


def test_a_sweep_ends_where_the_loss_is_lost(digits, nowhere):
    found = find_learning_rate(digits(optimiser=SgdConfig()), lowest=1e-3, highest=1e9, steps=60)
    assert len(found.rates) < 60 and all(map(math.isfinite, found.losses))
    assert found.suggestion < found.rates[-1]


def test_it_may_take_more_steps_than_training(digits):
    steps = 30  # an epoch has 8
    assert len(find_learning_rate(digits(epochs=1), steps=steps, highest=1e-3).rates) == steps


def test_several_tasks_and_hooks_go_with_it(tiny, nowhere):
    found = find_learning_rate(tiny(gradient_scores=True, hooks=(FreezeConfig(parameters=("backbone",)),)), steps=15)
    assert len(found.rates) == 15
    # a task that is met only in the second step makes no jump
    jumps = [abs(after - before) for before, after in itertools.pairwise(found.losses)]
    assert max(jumps) < 1.0


def test_the_steepest_fall_is_found():
    rates = [10 ** (-5 + 5 * n / 99) for n in range(100)]
    losses = [2.0 - 1 / (1 + math.exp(-(n - 60) / 4)) for n in range(100)]
    losses[0] = 9.0  # a single batch
    assert _steepest(rates, losses, 100) == rates[60]


def test_a_picture_is_drawn(swept, tmp_path):
    swept.plot(tmp_path / "rates.png")
    assert (tmp_path / "rates.png").read_bytes().startswith(b"\x89PNG")
    axes = swept._figure().axes[0]
    assert axes.get_xscale() == "log" and axes.get_xlabel() == "learning rate"
    blown = LearningRates(swept.rates, [*swept.losses[:-1], 1e6], swept.suggestion)
    assert blown._figure().axes[0].get_ylim()[1] < 10, "what blows up at the end does not hide the rest"


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"lowest": 0.0}, "Learning rates must grow from above 0, found lowest=0, highest=1"),
        ({"lowest": 1.0, "highest": 0.1}, "found lowest=1, highest=0.1"),
        ({"highest": math.inf}, "highest=inf"),
        ({"steps": 9}, "A sweep needs 10 steps or more, found 9"),
        ({"lowest": 1e30, "highest": 1e31}, "The loss was lost after . steps, at learning rates from 1e.30 on"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, text, digits):
    with pytest.raises(TrainingError, match=text):
        find_learning_rate(digits(optimiser=SgdConfig()), **settings)


def test_the_command_says_the_rate_and_draws(digits, tmp_path, capsys):
    (tmp_path / "digits.yaml").write_text(digits().to_yaml())
    command = ["find-lr", str(tmp_path / "digits.yaml"), "--steps", "12", "--from", "1e-4", "--to", "0.1"]
    assert main([*command, "--out", str(tmp_path / "drawn" / "rates.png")]) == 0
    shown = capsys.readouterr().out
    assert "the loss falls most steeply at lr " in shown and "tried 0.0001 to 0.1 in 12 steps" in shown
    assert (tmp_path / "drawn" / "rates.png").is_file()


def test_one_picture_is_of_one_experiment(tmp_path, capsys):
    assert main(["find-lr", "digits_v1", "--out", str(tmp_path / "rates.png")]) == 1
    assert "--out draws one experiment, and" in capsys.readouterr().err
