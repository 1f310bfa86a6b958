"""Models that start from a finished run: what is loaded is compared tensor by tensor with that run's best epoch."""

from __future__ import annotations

import json
import logging
import pickle
import shutil
import subprocess
import sys

import pytest
import torch

from cotrain import Experiment, load, run
from cotrain.chains import run_of
from cotrain.data import DigitsConfig, MixingConfig, SelectTasksConfig
from cotrain.errors import DataError, MissingRunError, ModelError, RunFolderError
from cotrain.losses import CrossEntropyConfig
from cotrain.models import LinearHeadConfig, SharedBackboneConfig, SmallCnnConfig, TorchvisionBackboneConfig
from cotrain.resolve import build
from cotrain.tasks import TaskConfig
from cotrain.training import (
    AdamWConfig,
    JournalSink,
    PredictedResponsesConfig,
    RunFolder,
    Score,
    StartFromConfig,
    TrainerConfig,
    find_run,
    load_state,
    looking_beside,
    without_weights,
    write_finished,
)

BACKBONE = SmallCnnConfig(layers=((4, 5, 2), (6, 3, 1)))
DATA = DigitsConfig(size=8)
HEAD = LinearHeadConfig(pool="flatten")
DIGITS = TaskConfig(name="digits", tap="layer2", head=HEAD, objective=CrossEntropyConfig())
MODEL = SharedBackboneConfig(backbone=BACKBONE, tasks=(DIGITS,))
FIRST = Experiment(
    "first",
    DATA,
    MODEL,
    TrainerConfig(
        mixing=MixingConfig(main="digits", batch_size=128), epochs=2, optimiser=AdamWConfig(lr=0.02), device="cpu"
    ),
)
NUMBERS = DIGITS.replace(name="numbers")
OTHER = FIRST.vary(
    "other",
    data={"task": "numbers"},
    model={"tasks": (NUMBERS,)},
    trainer={"mixing": {"main": "numbers"}},
)


def start(run, model=MODEL, **fields):
    return StartFromConfig(model=model, run=run, **fields)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """COTRAIN_HOME for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("place")
        patch.setenv("COTRAIN_HOME", str(folder / "home"))
        yield folder


@pytest.fixture(scope="module")
def first(place):
    return run(FIRST, out=place / "home" / "runs" / FIRST.key())


@pytest.fixture(scope="module")
def source(first):
    """{name: tensor} of its best epoch."""
    return load_state(first.folder / "best.pt")["model"]


@pytest.fixture(scope="module")
def infos():
    return {name: build(data, seed=0).info for name, data in (("digits", DATA), ("numbers", OTHER.data))}


def built(config, info, seed=0):
    """The states of the model with and without loading."""
    return build(config, info, seed=seed).state_dict(), build(config.model, info, seed=seed).state_dict()


def assert_loaded(config, info, source, expected):
    """Exactly these tensors are the run's; all others are those of a new model."""
    state, new = built(config, info)
    assert state.keys() == new.keys()
    for name, value in state.items():
        wanted = source[expected[name]] if name in expected else new[name]
        assert torch.equal(value, wanted), name
    assert expected
    # a test that could not fail would show nothing
    assert any(not torch.equal(source[there], new[here]) for here, there in expected.items())


@pytest.mark.parametrize(
    ("fields", "chosen"),
    [
        ({}, lambda name: name.startswith("backbone.")),
        ({"parameters": ("*",)}, lambda name: True),
        ({"parameters": ("heads.digits",)}, lambda name: name.startswith("heads.digits.")),
        ({"parameters": ("backbone.layer1", "*.bias")}, lambda name: "backbone.layer1." in name or "bias" in name),
        ({"exclude": ("backbone.layer[2-9]",)}, lambda name: name.startswith("backbone.layer1.")),
        ({"parameters": ("*",), "exclude": ("heads", "objectives")}, lambda name: name[0] not in "ho"),
    ],
)
@pytest.mark.parametrize("reference", [FIRST.key(), run_of(FIRST)], ids=["key", "run_of"])
def test_what_patterns_choose_is_the_runs_and_the_rest_is_new(fields, chosen, reference, first, source, infos):
    expected = {name: name for name in source if chosen(name)}
    assert_loaded(start(reference, **fields), infos["digits"], source, expected)


def test_it_is_the_best_epoch_and_no_other(first, source):
    assert all(torch.equal(value, source[name]) for name, value in first.model.state_dict().items())


def test_the_seed_says_which_run_and_what_stays_new(place, first, infos):
    second = FIRST.vary("first", seed=1)
    with pytest.raises(MissingRunError, match=rf"no finished run {second.key()} \('first', seed 1\) in"):
        build(start(run_of(FIRST)), infos["digits"], seed=1)
    run(second, out=place / "home" / "runs" / second.key())
    config = start(run_of(FIRST))
    (zero, new_zero), (one, new_one) = (built(config, infos["digits"], seed) for seed in (0, 1))
    assert torch.equal(zero["backbone.layer1.0.weight"], first.model.state_dict()["backbone.layer1.0.weight"])
    assert not torch.equal(zero["backbone.layer1.0.weight"], one["backbone.layer1.0.weight"])
    for name in zero:
        if name.startswith("heads"):
            assert torch.equal(zero[name], new_zero[name]) and torch.equal(one[name], new_one[name])


# --- batch norm ---


def statistics(state):
    return [name for name in state if "mean" in name.rpartition(".")[2] or "var" in name.rpartition(".")[2]]


def test_statistics_of_a_task_that_the_run_lacks_start_from_its_first_tasks(first, source, infos):
    model = MODEL.replace(tasks=(NUMBERS,))
    expected = {
        name.replace("_digits", "_numbers"): name
        for name in source
        if name.startswith("backbone.") and "running" not in name
    }
    assert "backbone.layer1.1.mean_numbers" in expected, list(expected)
    assert_loaded(start(FIRST.key(), model), infos["numbers"], source, expected)


def test_of_several_tasks_the_first_counts_unless_the_name_is_there(place, first, source, infos):
    """The first in the order of the source's model, whatever the names."""
    state = dict(source)
    for name in list(source):
        if "mean_digits" in name or "variance_digits" in name:
            del state[name]
            kept = name.removesuffix("digits")
            state |= {f"{kept}zebra": source[name] + 1, f"{kept}ape": source[name] + 2, name: source[name]}
    shutil.copytree(first.folder, place / "several" / first.folder.name)
    torch.save({"epoch": 1, "model": state}, place / "several" / first.folder.name / "best.pt")
    with looking_beside(place / "several"):
        same = build(start(FIRST.key()), infos["digits"], seed=0).state_dict()
        other = build(start(FIRST.key(), MODEL.replace(tasks=(NUMBERS,))), infos["numbers"], seed=0).state_dict()
    name = "backbone.layer1.1.mean_"
    assert torch.equal(same[f"{name}digits"], source[f"{name}digits"])
    assert torch.equal(other[f"{name}numbers"], source[f"{name}digits"] + 1)


@pytest.mark.parametrize("kind", ["shared", "frozen"])
def test_one_set_of_statistics_for_all_tasks_and_one_a_task(kind, place, first, source, infos):
    one_for_all = MODEL.replace(batch_norm=kind)
    state, new = built(start(FIRST.key(), one_for_all), infos["digits"])
    for own, task in (("running_mean", "mean_digits"), ("running_var", "variance_digits")):
        assert torch.equal(state[f"backbone.layer1.1.{own}"], source[f"backbone.layer1.1.{task}"])
    counter = "backbone.layer1.1.num_batches_tracked"
    assert torch.equal(state[counter], new[counter])
    if kind == "shared":  # and the other way round
        shared = FIRST.vary("shared", model={"batch_norm": kind})
        held = run(shared, out=place / "home" / "runs" / shared.key()).model.state_dict()
        back = build(start(shared.key()), infos["digits"], seed=0).state_dict()
        assert torch.equal(back["backbone.layer1.1.mean_digits"], held["backbone.layer1.1.running_mean"])
        assert torch.equal(back["backbone.layer1.1.variance_digits"], held["backbone.layer1.1.running_var"])


# --- what does not fit ---


def test_another_architecture_is_one_error_that_names_the_run(first, infos):
    wider = MODEL.replace(backbone=SmallCnnConfig(layers=((5, 5, 2), (6, 3, 1))))
    with pytest.raises(
        ModelError,
        match=rf"^start_from: the run {FIRST.key()} \('first', seed 0\) lacks \d \(backbone\.layer1\.0\.weight, "
        r"which is \(4, 1, 5, 5\) there and \(5, 1, 5, 5\) here; .* and \d more\) of \d+ tensors to start from\. "
        r"Give the model the architecture of that run, name other parameters, or set required=False\.$",
    ):
        build(start(run_of(FIRST), wider), infos["digits"], seed=0)


def test_what_is_not_required_stays_new_and_is_listed(first, source, infos, caplog):
    wider = MODEL.replace(backbone=SmallCnnConfig(layers=((4, 5, 2), (7, 3, 1))))
    with caplog.at_level(logging.WARNING):
        config = start(FIRST.key(), wider, required=False)
        assert_loaded(
            config, infos["digits"], source, {name: name for name in source if name.startswith("backbone.layer1.")}
        )
    (told,) = [record.getMessage() for record in caplog.records]
    assert FIRST.key() in told and "stay new: backbone.layer2.0.weight, which is (6, 4, 3, 3) there" in told
    assert told.count("backbone.layer2.1") >= 4, "all are listed"


def test_nothing_that_fits_is_an_error_even_where_nothing_is_required(first, infos):
    config = start(FIRST.key(), MODEL.replace(tasks=(NUMBERS,)), parameters=("heads.numbers",), required=False)
    with pytest.raises(ModelError, match=r"lacks 2 \(heads\.numbers\.\S+; heads\.numbers\.\S+\) of 2 tensors"):
        build(config, infos["numbers"], seed=0)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"parameters": ("backbon",)}, r"parameters: nothing in the model fits 'backbon'\. Did you mean 'backbone'"),
        ({"exclude": ("head",)}, r"exclude: nothing in the model fits 'head'\. Did you mean 'heads'"),
        ({"exclude": ("*",)}, r"exclude leaves out all that parameters choose"),
    ],
)
def test_patterns_that_choose_nothing(fields, text, first, infos):
    with pytest.raises(ModelError, match=text):
        build(start(FIRST.key(), **fields), infos["digits"], seed=0)


# --- in a run ---


def test_a_run_that_started_from_another_is_loaded_without_it(place, first, tmp_path):
    home = place / "home" / "runs"
    second = OTHER.vary("second", model=start(run_of(FIRST), OTHER.model, exclude=("backbone.layer2",)))
    trained = run(second, out=home / second.key())
    third = OTHER.vary("third", model=start(run_of(second), OTHER.model), trainer={"epochs": 1})
    run(third, out=home / third.key())
    hidden = tmp_path / "hidden"
    for experiment in (FIRST, second):
        shutil.move(home / experiment.key(), hidden / experiment.key())
    try:
        with pytest.raises(MissingRunError, match=rf"{second.key()} \('second', seed 0\), which 'fourth' needs, in"):
            run(third.vary("fourth", trainer={"epochs": 2}), out=tmp_path / "fourth")
        assert not (tmp_path / "fourth").exists(), "what cannot begin leaves nothing behind"
        for folder in (hidden / second.key(), home / third.key()):
            model = load(folder).model
            held = load_state(folder / "best.pt")["model"]
            assert all(torch.equal(value, held[name]) for name, value in model.state_dict().items())
        assert run(third, out=home / third.key()).best_epoch == 1, "a finished run is loaded"
        assert load(hidden / second.key()).scores.equals(trained.scores)
    finally:
        for experiment in (FIRST, second):
            shutil.move(hidden / experiment.key(), home / experiment.key())


def test_weights_of_files_within_are_left_out_too():
    backbone = TorchvisionBackboneConfig(name="resnet18", weights="start.pt")
    model = SharedBackboneConfig(backbone=backbone, tasks=(DIGITS,))
    twice = start("0" * 32, start("1" * 32, model))
    assert without_weights(twice) == without_weights(model) != model


def test_training_goes_on_from_there(place, first):
    """The untrained model that starts from everything has the validation scores of the run's best epoch."""
    second = FIRST.vary("second", model=start(run_of(FIRST), parameters=("*",)), trainer={"epochs": 1})
    scores = run(second, out=place / "home" / "runs" / second.key()).scores

    def validation(frame, epoch):
        frame = frame[(frame.split == "validation") & (frame.epoch == epoch) & (frame.metric != "weight")]
        return frame.set_index(["task", "metric"]).value.to_dict()

    before, best = validation(scores, 0), validation(first.scores, first.best_epoch)
    assert before == pytest.approx({name: best[name] for name in before}) and len(before) > 2


def test_a_run_beside_is_found_before_the_home(place, first, tmp_path, monkeypatch):
    monkeypatch.setenv("COTRAIN_HOME", str(tmp_path / "empty"))
    second = FIRST.vary("second", model=start(run_of(FIRST)), trainer={"epochs": 1})
    with pytest.raises(MissingRunError, match=r"in \S+runs or \S+empty/runs\. Train it first .* --only \"first\"` or"):
        run(second, out=tmp_path / "runs" / "anything")
    shutil.copytree(first.folder, tmp_path / "runs" / first.folder.name)
    assert run(second, out=tmp_path / "runs" / second.key()).best_epoch == 1
    assert find_run(FIRST.key()) is None
    with looking_beside(tmp_path / "runs"):
        assert find_run(FIRST.key()).path == tmp_path / "runs" / FIRST.key()
    assert find_run(FIRST.key()) is None


def test_a_run_in_another_runs_folder_is_refused(place, first, infos):
    shutil.copytree(first.folder, place / "home" / "runs" / ("1" * 32))
    with pytest.raises(DataError, match=rf"1{{32}} holds the run {FIRST.key()}"):
        build(start("1" * 32), infos["digits"], seed=0)


def test_responses_of_a_run_take_the_seed_as_well(place, first):
    data = SelectTasksConfig(data=DATA, tasks=("digits",))
    config = PredictedResponsesConfig(data=data, shown="digits", run=run_of(FIRST), predicted="digits")
    with pytest.raises(DataError, match="'digits' is of kind classification"):  # the run was found
        build(config, seed=0)
    with pytest.raises(MissingRunError, match=r"\('first', seed 77\)"):
        build(config, seed=77)


# --- written elsewhere ---


@pytest.fixture
def parts(first):
    """What `write_finished` is told of the run."""
    told = [Score(*values) for values in first.scores.itertuples(index=False)]
    return {
        "info": json.loads((first.folder / "info.json").read_text()),
        "weights": (first.folder / "best.pt").read_bytes(),
        "best_epoch": first.best_epoch,
        "epochs": [score for score in told if score.split != "test"],
        "tested": [score for score in told if score.split == "test"],
        "seconds": 1.0,
    }


def assert_same_run(found, first):
    assert (found.experiment, found.info, found.best_epoch) == (first.experiment, first.info, first.best_epoch)
    assert found.scores.equals(first.scores)
    assert all(torch.equal(value, found.model.state_dict()[name]) for name, value in first.model.state_dict().items())


def test_a_run_that_is_written_is_the_run(first, parts, tmp_path):
    write_finished(RunFolder(tmp_path / "copy"), first.experiment, **parts)
    assert_same_run(load(tmp_path / "copy"), first)
    names = {path.name for path in (tmp_path / "copy").iterdir()}
    assert names == {"experiment.yaml", "info.json", "journal.jsonl", "best.pt", "result.json"}


WRITE = """
import pickle, sys
from cotrain.training import RunFolder, write_finished
experiment, parts, path = pickle.load(open(sys.argv[1], "rb"))
sys.stdin.readline()
for _ in range(20):
    write_finished(RunFolder(path), experiment, **parts)
"""


@pytest.mark.slow
def test_processes_that_write_the_same_run_at_once_write_one(first, parts, tmp_path):
    (tmp_path / "told").write_bytes(pickle.dumps((first.experiment, parts, tmp_path / "copy")))
    command = [sys.executable, "-c", WRITE, str(tmp_path / "told")]
    writers = [subprocess.Popen(command, stdin=subprocess.PIPE, text=True) for _ in range(2)]
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    assert [writer.wait(60) for writer in writers] == [0, 0]
    for writer in writers:
        writer.stdin.close()
    assert_same_run(load(tmp_path / "copy"), first)


def test_a_run_that_was_written_in_part_is_not_finished(first, parts, tmp_path, monkeypatch):
    def full(self, best_epoch, scores):
        raise OSError("the disk is full")

    monkeypatch.setattr(JournalSink, "finish", full)
    copy = RunFolder(tmp_path / "copy")
    with pytest.raises(OSError, match="disk is full"):
        write_finished(copy, first.experiment, **parts)
    with pytest.raises(RunFolderError, match="was not finished"):
        load(copy.path)
