"""The loop does what a plain loop would: the same steps, losses and rates; and it stops, restores and refuses."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from types import SimpleNamespace

import pytest
import torch

from cotrain import build, run
from cotrain.data import MixingConfig, MixingLoader
from cotrain.errors import DataError, TrainingError
from cotrain.seeds import derive_seed
from cotrain.training import AdamWConfig, CosineConfig, MonitorConfig, RunFolder, ScoreSink, SgdConfig, load_state
from cotrain.training._device import pick_device
from cotrain.training._state import TrainingState


def equal_states(found, wanted) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(value, wanted[name]) for name, value in found.items())


def naive(experiment, steps):
    """A plain loop over the first optimiser steps, and the losses of its batches."""
    data = build(experiment.data, seed=experiment.seed)
    model = build(experiment.model, data.info, seed=experiment.seed)
    config = experiment.trainer
    loader = MixingLoader(data.splits["train"], config.mixing, seed=experiment.seed)
    decaying, others = [], []
    for name, parameter in model.named_parameters():
        decays = parameter.ndim > 1 and not name.endswith((".mu", ".sigma")) and not name.startswith("objectives.")
        (decaying if decays else others).append(parameter)
    decay = config.optimiser.weight_decay
    groups = [{"params": decaying, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=config.optimiser.lr, betas=config.optimiser.betas)
    total = config.epochs * loader.schedule.main_batches
    losses, norms, done, met, group = defaultdict(list), [], 0, 0, set()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(experiment.seed, "noise"))
        for batch in loader:
            met += 1
            group.add((batch.task, batch.session))
            images = batch.images
            for task, held in config.augmentation:
                if task == batch.task:
                    images = build(held)(images, derive_seed(experiment.seed, "augmentation", 1, met))
            objective = model.objectives[batch.task]
            loss = objective.loss(model(images, batch.task, batch.session), batch.targets)
            losses[batch.task, batch.session].append(loss.item())
            objective.weighted(loss).backward()
            if not batch.step_ends:
                continue
            # the readouts of sessions that were seen, each once however often
            readouts = [model.heads[task].readouts[session] for task, session in sorted(group) if session]
            if readouts:
                torch.stack([0.1 * readout.weight.abs().sum(1).mean() for readout in readouts]).sum().backward()
            if config.clip_norm:
                norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm).item())
            warm_up = round(0.1 * total)
            part = (done - warm_up) / (total - warm_up)
            cosine = 0.01 + 0.99 * (1 + math.cos(math.pi * part)) / 2
            for parameters in optimiser.param_groups:
                parameters["lr"] = config.optimiser.lr * ((done + 1) / (warm_up + 1) if done < warm_up else cosine)
            optimiser.step()
            optimiser.zero_grad()
            group.clear()
            done += 1
            if done == steps:
                break
    return SimpleNamespace(model=model, optimiser=optimiser, losses=losses, norms=norms)


@pytest.mark.parametrize("clip_norm", [1.0, None])
def test_steps_are_those_of_a_plain_loop_bit_for_bit(clip_norm, tiny, tmp_path, states):
    experiment = tiny(checkpoint_steps=1, epochs=1, clip_norm=clip_norm)
    held = states(experiment, tmp_path)
    for steps in (1, 2, 8):
        plain = naive(experiment, steps)
        assert equal_states(held[steps]["model"], plain.model.state_dict()), f"{steps} steps"
        assert clip_norm is None or max(plain.norms) > clip_norm, "there was something to clip"
        moments = plain.optimiser.state_dict()["state"]
        assert all(equal_states(held[steps]["optimiser"]["state"][place], moments[place]) for place in moments)


def test_the_training_loss_is_the_mean_over_the_batches_of_the_epoch(tiny, tmp_path):
    scores = run(tiny(epochs=1), out=tmp_path).scores
    losses = naive(tiny(epochs=1), steps=math.inf).losses
    found = scores[(scores.split == "train") & (scores.metric == "loss")].set_index(["task", "session"]).value
    for (task, session), values in losses.items():
        assert found[task, session] == sum(values) / len(values)
    both = losses["simulated_v1", "simulated1"] + losses["simulated_v1", "simulated2"]
    assert found["simulated_v1", ""] == pytest.approx(sum(both) / len(both), rel=1e-14)
    assert len(found) == 5


def test_a_task_that_rests_has_no_loss_of_that_epoch(tiny, tmp_path):
    mixing = tiny().trainer.mixing.replace(
        ratios=((1, (("simulated_v1", 1.0),)), (2, (("simulated_rdm", 1.0), ("simulated_v1", 0.0))))
    )
    scores = run(tiny(epochs=2, mixing=mixing), out=tmp_path).scores
    losses = scores[(scores.split == "train") & (scores.metric == "loss")]
    assert set(losses[losses.epoch == 1].task) == {"digits", "simulated_v1"}
    assert set(losses[losses.epoch == 2].task) == {"digits", "simulated_rdm"}
    assert (losses.value > 0).all()


def test_the_learning_rate_follows_the_schedule(digits, tmp_path, monkeypatch):
    rates, step = [], torch.optim.SGD.step
    monkeypatch.setattr(
        torch.optim.SGD, "step", lambda self: (rates.append([g["lr"] for g in self.param_groups]), step(self))
    )
    run(digits(optimiser=SgdConfig(lr=0.5), schedule=CosineConfig(warm_up=0.25, floor=0.2)), out=tmp_path)
    assert len(rates) == 16
    expected = [0.5 * (n + 1) / 5 for n in range(4)]
    expected += [0.5 * (0.2 + 0.8 * (1 + math.cos(math.pi * n / 12)) / 2) for n in range(12)]
    assert rates == [[pytest.approx(rate), pytest.approx(rate)] for rate in expected]


def test_the_learning_rate_goes_on_after_an_interruption(digits, tmp_path, monkeypatch, pull_plug):
    rates, step = [], torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: (rates.append(self.param_groups[0]["lr"]), step(self)))
    run(digits(), out=tmp_path / "whole")
    whole, rates[:] = [*rates], []
    pull_plug(digits(checkpoint_steps=5), tmp_path / "cut", after=11)
    assert rates == whole[:11]
    rates.clear()
    run(digits(), out=tmp_path / "cut")
    assert rates == whole[10:]


def test_no_number_is_read_from_a_tensor_within_a_micro_step(tiny, tmp_path, monkeypatch):
    # each would make a GPU wait
    inside, read = [False], Counter()
    for name in ("item", "tolist", "__float__", "__int__", "__bool__", "__index__", "numpy", "cpu", "nonzero"):
        original = getattr(torch.Tensor, name)

        def counted(self, *args, original=original, name=name, **kwargs):
            read[name] += inside[0]
            return original(self, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, counted)
    micro_step, met = TrainingState.micro_step, Counter()

    def watched(self, batch):
        inside[0] = True
        micro_step(self, batch)
        inside[0] = False
        met[batch.task] += 1

    monkeypatch.setattr(TrainingState, "micro_step", watched)
    run(tiny(epochs=1), out=tmp_path)
    assert met == {"digits": 8, "simulated_v1": 10, "simulated_rdm": 5}
    assert not +read


def test_a_step_comes_after_each_batch_of_the_main_task(tiny, tmp_path, states):
    held = states(tiny(epochs=2, checkpoint_steps=1), tmp_path)
    assert [*held] == list(range(17))
    assert [state["mixing"]["epoch"] for state in held.values()] == [*[1] * 8, *[2] * 8, 3]


def test_early_stopping_stops_and_the_best_epoch_comes_back(tiny, tmp_path, states, journal):
    held = states(tiny(), tmp_path)
    scores = journal(tmp_path)
    best, last = scores[-1][0], scores[-2][0]
    assert last == best + 2 < tiny().trainer.epochs
    assert max(held) == 8 * last
    stored = load_state(tmp_path / "best.pt")
    assert stored["epoch"] == best
    assert equal_states(stored["model"], held[8 * best]["model"])
    assert not equal_states(stored["model"], held[8 * last]["model"])


def test_learned_weights_are_in_every_checkpoint_and_come_back(finished):
    states = [finished.folder / "best.pt", *(finished.folder / "checkpoints").iterdir()]
    assert len(states) == 3
    names = {f"objectives.{task}.log_variance" for task in finished.info.tasks}
    for path in states:
        model = load_state(path)["model"]
        assert names <= model.keys() and all(model[name] != 0 for name in names), path
    scores = finished.scores
    weights = scores[(scores.metric == "weight") & (scores.epoch == finished.best_epoch)].set_index("task").value
    for task in finished.info.tasks:
        objective = finished.model.objectives[task]
        assert weights[task] == objective.weight().item()
        assert weights[task] == pytest.approx(objective.precision * math.exp(-objective.log_variance.item()))


def test_statistics_of_a_resting_task_stay(tiny, tmp_path, states):
    mixing = tiny().trainer.mixing.replace(ratios=((1, (("simulated_v1", 1.0),)), (2, (("simulated_rdm", 1.0),))))
    held = states(tiny(epochs=2, mixing=mixing), tmp_path)

    def changed(task, before, after):
        names = [name for name in held[0]["model"] if name.startswith("backbone.") and name.endswith(f"_{task}")]
        assert len(names) == 4
        return {not torch.equal(held[before]["model"][name], held[after]["model"][name]) for name in names}

    assert changed("digits", 0, 8) == changed("digits", 8, 16) == {True}
    # only the first layer is seen by the others
    assert changed("simulated_v1", 0, 8) == changed("simulated_rdm", 8, 16) == {True, False}
    assert changed("simulated_v1", 8, 16) == changed("simulated_rdm", 0, 8) == {False}


@pytest.mark.parametrize("steps", [0, 1])
def test_a_loss_that_is_lost_stops_the_run_and_earlier_checkpoints_stay(steps, digits, tmp_path):
    broken = digits(optimiser=AdamWConfig(lr=1e30), epochs=3, checkpoint_steps=steps)
    text = (
        r"The loss of task 'digits', at the tap 'layer2', is not finite in epoch 1\. Its last finite value was 2\.\d+ "
        r"\(validation, epoch 0\)\. Weights that are not finite: .*backbone\.\w.* earlier checkpoints are kept"
    )
    with pytest.raises(TrainingError, match=text):
        run(broken, out=tmp_path)
    folder = RunFolder(tmp_path)
    states = [load_state(path) for path in sorted(folder.checkpoints.iterdir())]
    assert all(value.isfinite().all() for value in states[0]["model"].values()), "the older of those kept is whole"
    assert states[0]["step"] < 2
    with pytest.raises(TrainingError, match="is not finite in epoch 1"):
        run(broken, out=tmp_path)


class Drawing(ScoreSink):
    """Keeps what the caller's generators would give next."""

    def close(self) -> None:
        self.state = torch.get_rng_state()


def test_training_has_randomness_of_its_own(tiny, tmp_path, journal):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    run(tiny(epochs=1), out=tmp_path / "a")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    run(tiny(epochs=1), out=tmp_path / "b", sinks=[sink := Drawing()])
    assert not torch.equal(sink.state, torch.get_rng_state())
    assert journal(tmp_path / "a") == journal(tmp_path / "b")


def test_another_seed_gives_another_run(tiny, tmp_path, journal):
    for seed in (0, 1):
        run(tiny(epochs=1, seed=seed), out=tmp_path / str(seed))
    first, other = journal(tmp_path / "0"), journal(tmp_path / "1")
    assert all(a[2] != b[2] for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"monitor": MonitorConfig(tasks=(("digit", 1.0),))}, TrainingError, "monitor names the task 'digit'.*Did you"),
        ({"monitor": MonitorConfig(tasks=(("digits", 1.0),) * 2)}, TrainingError, "monitor names a task twice"),
        ({"mixing": MixingConfig(main="v1")}, DataError, "mixing names the task 'v1', which the data lack"),
        ({"device": "gpu"}, TrainingError, "There is no device 'gpu'; write 'auto', 'cpu', 'cuda' or 'cuda:0'"),
        ({"device": "meta"}, TrainingError, "There is no device 'meta'"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(changes, error, text, digits, tmp_path):
    with pytest.raises(error, match=text):
        run(digits(**changes), out=tmp_path)
    assert not (tmp_path / "journal.jsonl").exists()


def test_augmentation_of_a_task_that_the_data_lack_or_named_twice_is_refused(tiny, tmp_path):
    held = tiny().trainer.augmentation
    with pytest.raises(TrainingError, match="augmentation names tasks that the data lack: v4"):
        run(tiny(augmentation=(("v4", held[0][1]),)), out=tmp_path / "a")
    with pytest.raises(TrainingError, match="augmentation names a task twice; only one of its entries would be used"):
        run(tiny(augmentation=(held[0], held[0])), out=tmp_path / "b")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_named():
    for name in ("cuda", "cuda:7"):
        with pytest.raises(TrainingError, match=f"Device '{name}' was asked for, but torch finds no CUDA GPU here"):
            pick_device(name)
    assert pick_device("auto") == torch.device("cpu")


def test_accumulated_batches_make_the_step_of_one_large_batch(digits, tmp_path, states):
    """Without batch norm, whose statistics are those of each batch."""
    model = {"batch_norm": "frozen"}

    def trained(name, size, accumulate):
        mixing = MixingConfig(main="digits", batch_size=size, accumulate=accumulate)
        experiment = digits(mixing=mixing, epochs=1, optimiser=SgdConfig(lr=0.05), clip_norm=0.1)
        return states(experiment.vary(name, model=model), tmp_path / name)

    whole, parts = trained("whole", 128, 1), trained("parts", 32, 4)
    assert max(whole) == max(parts)
    for name, value in whole[max(whole)]["model"].items():
        torch.testing.assert_close(parts[max(parts)]["model"][name], value, rtol=1e-4, atol=1e-6)


def test_the_learning_rate_of_each_epochs_last_step_is_a_score(digits, tmp_path):
    scores = run(
        digits(optimiser=SgdConfig(lr=0.5), schedule=CosineConfig(warm_up=0.25, floor=0.2)), out=tmp_path
    ).scores
    found = scores[scores.metric == "learning_rate"]
    assert list(found.epoch) == [1, 2] and set(found.split) == {"train"} and set(found.task) == {""}
    expected = [0.5 * (0.2 + 0.8 * (1 + math.cos(math.pi * n / 12)) / 2) for n in (3, 11)]
    assert list(found.value) == pytest.approx(expected)
