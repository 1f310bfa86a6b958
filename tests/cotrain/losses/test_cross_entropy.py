"""Label smoothing is the textbooks', and the temperature form is the likelihood itself: bounded, right at its end."""

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cotrain.errors import ConfigError
from cotrain.losses import CrossEntropyConfig, cross_entropy
from cotrain.tasks import TaskInfo

TASK = TaskInfo("classification", (1, 8, 8), (0.5,), (0.2,), ("cat", "dog", "newt"))
TEMPERED = CrossEntropyConfig(form="temperature")


def scores(seed=0, images=200, spread=2.0):
    return spread * torch.randn(images, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labels(values, temperature=1.0, seed=1):
    """Drawn from the softmax of the scores at a temperature."""
    chances = torch.softmax(values / temperature, 1)
    return torch.multinomial(chances, 1, generator=torch.Generator().manual_seed(seed))[:, 0]


def at(temperature, config=TEMPERED):
    held = cross_entropy(TASK, config).double()
    with torch.no_grad():
        held.log_temperature.fill_(math.log(temperature))
    return held


def settled(held, output, target, steps=120):
    optimiser = torch.optim.Rprop(held.parameters(), lr=0.1, step_sizes=(1e-6, 1.0))
    for _ in range(steps):
        optimiser.zero_grad()
        held(output, target).backward()
        optimiser.step()
    return dict(held.parameters_as_scores())["temperature"]


@pytest.mark.parametrize("form", ["kendall", "temperature"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_label_smoothing_mixes_the_label_with_all_classes_alike(form, smoothing):
    output = scores()
    target = labels(output)
    wanted = (1 - smoothing) * torch.nn.functional.one_hot(target, 3) + smoothing / 3
    expected = -(wanted * torch.log_softmax(output, 1)).sum(1).mean()
    held = cross_entropy(TASK, CrossEntropyConfig(label_smoothing=smoothing, form=form))
    torch.testing.assert_close(held.loss(output, target), expected)


@settings(max_examples=15, deadline=None)
@given(log_temperature=st.floats(-12, 12), seed=st.integers(0, 1000))
def test_the_temperature_divides_the_scores_and_the_term_is_never_negative(log_temperature, seed):
    output = scores(seed)
    target = labels(output, seed=seed + 1)
    temperature = math.exp(min(max(log_temperature, -10), 10))
    held = at(math.exp(log_temperature))
    term = held(output, target)
    assert term == held.loss(output, target) >= 0
    torch.testing.assert_close(term, torch.nn.functional.cross_entropy(output / temperature, target))
    assert dict(held.parameters_as_scores()) == {"temperature": pytest.approx(temperature)}


@pytest.mark.parametrize("temperature", [0.25, 1.0, 5.0])
@pytest.mark.parametrize("start", [0.01, 1.0, 100.0])
def test_the_temperature_that_the_labels_were_drawn_with_is_found(temperature, start):
    output = scores(images=10_000)
    found = settled(at(start), output, labels(output, temperature))
    assert found == pytest.approx(temperature, rel=0.05)


def test_at_the_optimum_labels_score_what_the_softmax_expects():
    output = scores()
    target = labels(output, 3.0)
    chances = torch.softmax(output / settled(at(1.0), output, target), 1)
    expected = (chances * output).sum(1).mean().item()
    assert output.gather(1, target[:, None]).mean().item() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(("right", "end"), [(True, math.exp(-10)), (False, math.exp(10))])
def test_a_perfect_and_a_hopeless_network_do_not_drive_the_temperature_beyond_its_bounds(right, end):
    output = torch.eye(3)
    target = torch.arange(3) if right else (torch.arange(3) + 1) % 3
    held = cross_entropy(TASK, TEMPERED)
    assert settled(held, output, target, 150) == pytest.approx(end, rel=0.01) or right
    assert abs(held.log_temperature.item()) < 12
    other = scores(images=5000).float()
    assert settled(held, other, labels(other, 2.0), 150) == pytest.approx(2.0, rel=0.1)  # and it finds back


@pytest.mark.parametrize(("weight", "times"), [("learned", 1.0), (0.3, 0.3)])
def test_the_term_has_weight_1_or_the_given_one_and_the_temperature_is_learnt(weight, times):
    held = cross_entropy(TASK, CrossEntropyConfig(weight=weight, form="temperature"))
    output = scores().float()
    assert held.weight() == times
    assert held(output, labels(output)).item() == pytest.approx(times * held.loss(output, labels(output)).item())
    assert list(held.state_dict()) == ["log_temperature"]


def test_bfloat16_scores_are_divided_in_float32():
    output = scores().bfloat16()
    loss = at(1.7).float().loss(output, labels(output.float()))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(at(1.7).loss(output.double(), labels(output.float())).item(), rel=1e-5)


def test_the_fields_that_came_later_leave_key_and_state_as_they_were():
    golden = json.loads((Path(__file__).parents[2] / "golden" / "keys.json").read_text(encoding="utf-8"))
    held = golden["cotrain.losses.cross_entropy"]
    stored = CrossEntropyConfig.from_record({"weight": "learned"})
    assert stored == CrossEntropyConfig() and stored.key() == held["key"]
    assert TEMPERED.key() != held["key"] != CrossEntropyConfig(label_smoothing=0.1).key()
    assert list(cross_entropy(TASK, stored).state_dict()) == ["log_variance"]


@pytest.mark.parametrize("wrong", [{"label_smoothing": 1.0}, {"label_smoothing": -0.1}, {"form": "exact"}])
def test_impossible_values_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        CrossEntropyConfig(**wrong)
