"""Interrupted equals uninterrupted, bit for bit: whatever ended a run, wherever it was, however often."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cotrain import run
from cotrain.data import MixingConfig
from cotrain.training import ConstantConfig, MonitorConfig, RunFolder, ScoreSink, SgdConfig, load_state

# With uneven mixing, shifted images, sampled readouts, learned weights, clipped gradients and early stopping.
BY_SIZE = MixingConfig(
    main="simulated_v1", ratios=((1, (("digits", 1.7), ("simulated_rdm", "1/3"))),), batch_size=9, sessions="by_size"
)
BATCHES = 55  # in the third epoch, after some checkpoints there


class BreakingSink(ScoreSink):
    """Fails when it is told of an epoch."""

    def __init__(self, epoch: int | None) -> None:
        self.breaks_at = epoch

    def epoch(self, epoch, scores, seconds) -> None:
        if epoch == self.breaks_at:
            raise RuntimeError(f"the sink broke at epoch {epoch}")

    def finish(self, best_epoch, scores) -> None:
        if self.breaks_at is None:
            raise RuntimeError("the sink broke at the end")


def checkpoints(folder: Path) -> list[Path]:
    return sorted((folder / "checkpoints").iterdir())


def test_the_run_that_others_are_compared_with_uses_everything(finished, tiny):
    scores = finished.scores
    trained = scores[(scores.split == "train") & (scores.metric == "loss")]
    assert set(trained.task) == {"digits", "simulated_v1", "simulated_rdm"}
    assert scores.epoch.max() == finished.best_epoch + 2 < tiny().trainer.epochs, "it stopped early"
    assert len(trained[trained.epoch == 1]) == 5, "both sessions were met"
    weights = scores[(scores.metric == "weight") & (scores.epoch == finished.best_epoch)].value
    assert len(set(weights)) == 3 and not set(weights) & {0.5, 1.0}, "the weights were learnt"


@pytest.mark.parametrize("workers", [None, 2])
def test_the_same_experiment_gives_the_same_run(finished, tiny, tmp_path, assert_same_run, workers):
    """With threads that read ahead as well: neither the key nor a bit of the result depends on them."""
    experiment = tiny(workers=workers)
    assert experiment.key() == finished.experiment.key()
    run(experiment, out=tmp_path / "again")
    assert_same_run(tmp_path / "again", finished.folder)


@pytest.mark.parametrize("seed", range(3))
def test_failures_in_the_middle_of_an_epoch_leave_no_trace(seed, finished, tiny, tmp_path, pull_plug, assert_same_run):
    draw = random.Random(seed)
    for _ in range(3):
        pull_plug(tiny(), tmp_path, after=draw.randrange(BATCHES // 3))
    run(tiny(), out=tmp_path)
    assert_same_run(tmp_path, finished.folder)


@pytest.mark.parametrize("epoch", [0, 1, 2, None])
def test_a_failing_sink_leaves_no_trace(epoch, finished, tiny, tmp_path, journal, assert_same_run):
    with pytest.raises(RuntimeError, match="the sink broke at"):
        run(tiny(), out=tmp_path, sinks=[BreakingSink(epoch)])
    assert journal(tmp_path)[-1][0] == (finished.best_epoch if epoch is None else epoch)
    run(tiny(), out=tmp_path)
    assert_same_run(tmp_path, finished.folder)


def test_how_often_checkpoints_are_written_changes_nothing(finished, tiny, tmp_path, pull_plug, assert_same_run):
    for steps in (5, 0, 1):
        pull_plug(tiny(checkpoint_steps=steps), tmp_path, after=16)
    run(tiny(checkpoint_steps=4), out=tmp_path)
    assert_same_run(tmp_path, finished.folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimiser": SgdConfig(lr=0.05, nesterov=True), "schedule": ConstantConfig(), "clip_norm": None},
        {"model": {"batch_norm": "shared"}, "augmentation": ()},
        {"monitor": MonitorConfig(), "mixing": BY_SIZE},
    ],
)
def test_other_settings_leave_no_trace_either(changes, tiny, tmp_path, pull_plug, assert_same_run):
    experiment = tiny(epochs=3, **changes)
    run(experiment, out=tmp_path / "whole")
    for after in (14, 17):
        pull_plug(experiment, tmp_path / "cut", after=after)
    run(experiment, out=tmp_path / "cut")
    assert_same_run(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.parametrize("cut", [1, 40, -1])
def test_a_torn_line_of_the_journal_is_dropped(cut, finished, tiny, tmp_path, pull_plug, assert_same_run):
    pull_plug(tiny(), tmp_path, after=BATCHES)
    text = (tmp_path / "journal.jsonl").read_text()
    line = text.splitlines()[-1] + "\n"
    # of an epoch that was not saved; and of one that was
    (tmp_path / "journal.jsonl").write_text(text + line[:cut] if cut > 0 else text[:-30])
    run(tiny(), out=tmp_path)
    assert_same_run(tmp_path, finished.folder)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_half_written_checkpoint_is_passed_over_with_a_warning(
    share, finished, tiny, tmp_path, pull_plug, assert_same_run, caplog
):
    pull_plug(tiny(), tmp_path, after=BATCHES)
    before, newest = checkpoints(tmp_path)
    os.truncate(newest, int(share * newest.stat().st_size))
    with caplog.at_level(logging.WARNING):
        found = RunFolder(tmp_path).last_checkpoint()
    assert found["step"] == load_state(before)["step"]
    assert f"{newest} is damaged" in caplog.text and "Trying the one before." in caplog.text
    run(tiny(), out=tmp_path)
    assert_same_run(tmp_path, finished.folder)


def test_a_checkpoint_with_one_changed_bit_is_passed_over(finished, tiny, tmp_path, pull_plug, assert_same_run, caplog):
    pull_plug(tiny(), tmp_path, after=BATCHES)
    newest = checkpoints(tmp_path)[-1]
    content = bytearray(newest.read_bytes())
    weight = load_state(newest)["model"]["backbone.layer1.0.weight"].numpy().tobytes()
    content[content.index(weight)] ^= 1
    newest.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        run(tiny(), out=tmp_path)
    assert f"{newest} is damaged" in caplog.text and "has another checksum" in caplog.text
    assert_same_run(tmp_path, finished.folder)


def test_the_best_weights_are_those_of_the_checkpoint_whatever_else_was_written(finished, tiny, tmp_path, pull_plug):
    """An epoch that is trained again on a GPU may come out otherwise: weights of its first try must not be the best."""
    pull_plug(tiny(), tmp_path, after=BATCHES)
    (tmp_path / "best.pt").write_bytes(b"of an epoch that no checkpoint knows")
    result = run(tiny(), out=tmp_path)
    stored = load_state(tmp_path / "best.pt")
    assert stored["epoch"] == result.best_epoch == finished.best_epoch
    assert all((value == finished.model.state_dict()[name]).all() for name, value in stored["model"].items())


def test_a_lost_checkpoint_is_passed_over(finished, tiny, tmp_path, pull_plug, assert_same_run):
    pull_plug(tiny(), tmp_path, after=BATCHES)
    checkpoints(tmp_path)[-1].unlink()
    run(tiny(), out=tmp_path)
    assert_same_run(tmp_path, finished.folder)


def test_where_no_checkpoint_is_whole_training_begins_again_and_can_be_interrupted(
    finished, tiny, tmp_path, pull_plug, assert_same_run
):
    pull_plug(tiny(), tmp_path, after=BATCHES)
    for path in checkpoints(tmp_path):
        path.write_bytes(b"PK")
    pull_plug(tiny(), tmp_path, after=30)
    assert RunFolder(tmp_path).last_checkpoint()["step"] > 0, "new checkpoints are not taken for old ones"
    run(tiny(), out=tmp_path)
    assert_same_run(tmp_path, finished.folder)


def test_what_a_killed_process_was_writing_is_removed(tiny, tmp_path, pull_plug):
    pull_plug(tiny(), tmp_path, after=10)
    left = (tmp_path / ".best.pt.4321.tmp", tmp_path / "checkpoints" / ".step-000000006.pt.4321.tmp")
    for path in left:
        path.write_bytes(b"half")
    pull_plug(tiny(), tmp_path, after=10)
    assert not any(path.exists() for path in left)


def assert_same_curves(folder: Path, other: Path) -> None:
    """TensorBoard shows the same, and each epoch once; the last points may have been told twice."""
    found, wanted = (EventAccumulator(str(f / "tensorboard"), {"scalars": 0}).Reload() for f in (folder, other))
    assert found.Tags()["scalars"] == wanted.Tags()["scalars"]
    for tag in set(wanted.Tags()["scalars"]) - {"seconds"}:
        points, expected = ([(e.step, e.value) for e in held.Scalars(tag)] for held in (found, wanted))
        assert (points if not tag.endswith("/test") else points[-1:]) == expected, tag


TRY = """
import sys
from pathlib import Path
import torch
from cotrain import Experiment, run
torch.set_num_threads(1)
run(Experiment.from_yaml(Path(sys.argv[1]).read_text()), out=sys.argv[2])
"""


@pytest.mark.slow
def test_killed_at_random_moments_a_run_ends_as_if_it_had_not_been(finished, tiny, tmp_path, assert_same_run):
    (tmp_path / "experiment.yaml").write_text(tiny(checkpoint_steps=2).to_yaml())
    out, draw, kills = tmp_path / "run", random.Random(), 0
    command = [sys.executable, "-W", "error", "-c", TRY, str(tmp_path / "experiment.yaml"), str(out)]
    for _ in range(12):
        begun = len(list(out.glob("tensorboard/*")))
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        while process.poll() is None and len(list(out.glob("tensorboard/*"))) == begun:
            time.sleep(0.005)
        if kills < 5:
            time.sleep(draw.uniform(0.0, 0.4))
            process.kill()
        error = process.communicate()[1].decode()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, error
        kills += 1
    assert process.returncode == 0
    assert kills >= 1, "or it was too fast to be killed"
    assert_same_run(out, finished.folder)
    assert_same_curves(out, finished.folder)


KILLED = """
import functools, os, random, signal, sys, time
from pathlib import Path
import torch
import cotrain.training
from cotrain import Experiment, build, run
from cotrain.data import _natural_patches

torch.set_num_threads(1)
_natural_patches._candidates = functools.cache(_natural_patches._candidates)
experiment = Experiment.from_yaml(Path(sys.argv[1]).read_text())
build(experiment.data, seed=experiment.seed)
draw, killed, out = random.Random(), 0, Path(sys.argv[2])
while True:
    begun = len(list(out.glob("tensorboard/*")))
    child = os.fork()
    if child == 0:
        run(experiment, out=out)
        os._exit(0)
    if killed < int(sys.argv[3]):
        while len(list(out.glob("tensorboard/*"))) == begun and os.waitpid(child, os.WNOHANG) == (0, 0):
            time.sleep(0.002)
        time.sleep(draw.uniform(0.0, 0.12))
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if status == 0:
        break
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
    killed += 1
print(killed)
"""


@pytest.mark.slow
def test_fifty_kills_at_random_moments_of_one_run_leave_no_trace(tiny, tmp_path, assert_same_run):
    experiment = tiny(checkpoint_steps=2, epochs=100, monitor=MonitorConfig())
    (tmp_path / "experiment.yaml").write_text(experiment.to_yaml())
    command = [sys.executable, "-c", KILLED, str(tmp_path / "experiment.yaml"), str(tmp_path / "run")]
    ended = subprocess.run([*command, "50"], capture_output=True, text=True, check=False, timeout=500)
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) == 50, "processes that were killed before the run was done"
    run(experiment, out=tmp_path / "whole")
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    assert_same_curves(tmp_path / "run", tmp_path / "whole")


CHAIN = """
import functools, itertools, os, signal, sys
from pathlib import Path
import torch
import cotrain.training
from cotrain import Experiment, build, run
from cotrain.data import _natural_patches

torch.set_num_threads(1)
_natural_patches._candidates = functools.cache(_natural_patches._candidates)
experiment = Experiment.from_yaml(Path(sys.argv[1]).read_text())
build(experiment.data, seed=experiment.seed)


def deadly(function, count, last):
    def call(*args, **kwargs):
        if next(count) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    return call


for last in itertools.count(1):
    child = os.fork()
    if child == 0:
        count = itertools.count(1)
        os.fsync = deadly(os.fsync, count, last)
        Path.replace, Path.unlink = deadly(Path.replace, count, last), deadly(Path.unlink, count, last)
        run(experiment, out=sys.argv[2])
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status == 0:
        break
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
print(last)
"""


@pytest.mark.slow
def test_killed_before_each_sort_of_write_a_run_ends_as_if_it_had_not_been(finished, tiny, tmp_path, assert_same_run):
    # process n dies before it writes, renames or removes its n-th file; so each place is died at in turn
    (tmp_path / "experiment.yaml").write_text(tiny().to_yaml())
    command = [sys.executable, "-c", CHAIN, str(tmp_path / "experiment.yaml"), str(tmp_path / "run")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) > 12, "processes that died"
    assert_same_run(tmp_path / "run", finished.folder)
    assert_same_curves(tmp_path / "run", finished.folder)
