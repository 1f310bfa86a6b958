"""Several processes that share each batch: they train what one process trains, and stop and fail together."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._C._distributed_c10d import TCPStore

from cotrain import Experiment, load, run
from cotrain.data import (
    ArraysConfig,
    ClassManifoldsConfig,
    JitterConfig,
    LabelArrayConfig,
    MixingConfig,
    RdmOfResponsesConfig,
    ResponseArrayConfig,
    SplitConfig,
)
from cotrain.errors import DataError, LostRankError, TrainingError
from cotrain.losses import (
    CapacityConfig,
    CrossEntropyConfig,
    GaussianConfig,
    GradientAggregationConfig,
    RdmMatchConfig,
)
from cotrain.models import (
    FactorizedReadoutConfig,
    GaussianReadoutConfig,
    LinearHeadConfig,
    ManifoldHeadConfig,
    RdmHeadConfig,
    SharedBackboneConfig,
    SmallCnnConfig,
)
from cotrain.tasks import TaskConfig
from cotrain.training import AdamWConfig, RunFolder, ScoreSink, SgdConfig, TrainerConfig, load_state
from cotrain.training._spawned import _environment

CLASSES, EACH, REPEATS = 6, 16, 3
LABELS = ArraysConfig(
    path="made.npz",
    tasks=(
        LabelArrayConfig(task="objects"),
        ResponseArrayConfig(task="it", session="a", responses="a"),
        ResponseArrayConfig(task="it", session="b", responses="b"),
    ),
    split=SplitConfig(validation=0.25, test=0.25),
)
GROUPED = RdmOfResponsesConfig(
    data=LABELS, task="it", name="class_rdm", dissimilarity="crossnobis", subjects="joint", groups_of="objects"
)
DATA = ClassManifoldsConfig(
    data=RdmOfResponsesConfig(data=GROUPED, task="it", name="it_rdm"), task="objects", name="manifolds"
)
LAYERS = ("layer1", "layer2")
TASKS = (
    TaskConfig(name="objects", tap="layer2", head=LinearHeadConfig(), objective=CrossEntropyConfig(weight=1.0)),
    TaskConfig(name="it", tap="layer2", head=FactorizedReadoutConfig(), objective=GaussianConfig(weight=0.5)),
    TaskConfig(name="it_rdm", tap=LAYERS, head=RdmHeadConfig(), objective=RdmMatchConfig(layer_weights="learned")),
    TaskConfig(name="class_rdm", tap="layer2", head=RdmHeadConfig(), objective=RdmMatchConfig()),
    TaskConfig(name="manifolds", tap="layer2", head=ManifoldHeadConfig(), objective=CapacityConfig(draws=20)),
)
MODEL = SharedBackboneConfig(backbone=SmallCnnConfig(layers=((6, 3, 2), (8, 3, 1))), tasks=TASKS)
TRAINER = TrainerConfig(
    mixing=MixingConfig(
        main="objects",
        ratios=((1, (("it", 2.0), ("it_rdm", 1.0), ("class_rdm", 1.0), ("manifolds", 0.5))),),
        batch_size=24,
        balanced=(("class_rdm", 4), ("manifolds", 4)),
    ),
    epochs=5,
    optimiser=AdamWConfig(lr=0.01),
    clip_norm=1.0,
    device="cpu",
)
EXPERIMENT = Experiment("shared", data=DATA, model=MODEL, trainer=TRAINER)


@pytest.fixture(autouse=True)
def _made(tmp_path, monkeypatch):
    """Noisy pictures of six classes; one neuron of a subject was not always recorded, but the RDMs know."""
    draw = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), EACH)
    pattern = draw.normal(0, 1, (CLASSES, 12, 12))[labels] + draw.normal(0, 0.5, (len(labels), 12, 12))

    def responses(neurons):
        drive = pattern.reshape(len(labels), -1) @ draw.normal(0, 0.2, (144, neurons))
        return (drive[:, None] + draw.normal(0, 0.5, (len(labels), REPEATS, neurons))).astype(np.float32)

    names = np.array([f"class {number}" for number in range(CLASSES)])
    images = np.clip(128 + 40 * pattern, 0, 255).astype(np.uint8)
    np.savez(tmp_path / "made.npz", images=images, labels=labels, class_names=names, a=responses(10), b=responses(7))
    monkeypatch.setenv("COTRAIN_DATA", str(tmp_path))


def random_in_training() -> Experiment:
    """With places and images drawn anew for each stimulus."""
    readout = TASKS[1].replace(head=GaussianReadoutConfig())
    jitter = (("objects", JitterConfig(pixels=1)),)
    return EXPERIMENT.vary(
        "drawn",
        data=LABELS,
        model={"tasks": (TASKS[0], readout)},
        trainer={
            "mixing": {"ratios": ((1, (("it", 1.3),)),), "balanced": ()},
            "epochs": 30,
            "augmentation": jitter,
            "checkpoint_steps": 1,
            "keep_epochs": (1, 4, 30),
        },
    )


def require_close(folder: Path, other: Path) -> None:
    """The same training but for rounding, which Adam makes larger: weights and statistics, and all scores."""
    states = [load_state(max((held / "checkpoints").iterdir())) for held in (folder, other)]
    assert states[0]["step"] == states[1]["step"]
    assert states[0]["model"].keys() == states[1]["model"].keys()
    for name, tensor in states[0]["model"].items():
        torch.testing.assert_close(
            states[1]["model"][name], tensor, rtol=2e-4, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}"
        )
    scores = [load(held).scores for held in (folder, other)]
    assert scores[0].drop(columns="value").equals(scores[1].drop(columns="value"))
    np.testing.assert_allclose(scores[1].value, scores[0].value, rtol=2e-3, atol=2e-4)


def child(rank: int, of: int | None = None) -> int | None:
    """The process id of a rank that a process, this one by default, started."""
    for tasks in Path(f"/proc/{of or os.getpid()}/task").glob("*/children"):
        for number in tasks.read_text().split():
            with contextlib.suppress(OSError):
                if f"RANK={rank}".encode() in Path(f"/proc/{number}/environ").read_bytes().split(b"\0"):
                    return int(number)
    return None


def command_of(process: int) -> bytes:
    """Nothing of one that has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


class Doing(ScoreSink):
    """Does something when an epoch is told, and keeps what it is told."""

    def __init__(self, epoch: int, what) -> None:
        self.at, self.what, self.told, self.processes = epoch, what, [], set()

    def start(self, history, resumed_epoch) -> None:
        self.told.append(("start", len(history), resumed_epoch))
        self.processes.add(os.getpid())

    def epoch(self, epoch, scores, seconds) -> None:
        self.told.append(("epoch", epoch))
        if epoch == self.at:
            self.what()

    def finish(self, best_epoch, scores) -> None:
        self.told.append(("finish", best_epoch))

    def close(self) -> None:
        self.told.append(("close",))


# batches that two cannot share evenly are one smaller, as one process is told to make them here
CHANGES = {
    "statistics of each task": ({}, {}),
    "shared statistics, accumulated": (
        {"batch_norm": "shared"},
        {"mixing": {"accumulate": 2}, "optimiser": SgdConfig(lr=0.05)},
    ),
    "momentum, no clipping": ({}, {"optimiser": SgdConfig(lr=0.05), "clip_norm": None}),
    "weighted gradients": (
        {},
        {"weighting": GradientAggregationConfig(method="PCGrad"), "gradient_scores": True},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("changes", CHANGES)
def test_two_ranks_train_what_one_process_trains(changes, tmp_path):
    model, trainer = CHANGES[changes]
    experiment = EXPERIMENT.vary("shared", model=model, trainer=trainer)
    run(experiment, out=tmp_path / "alone")
    sink = Doing(-1, None)
    odd = {"batch_size": 25, "batch_sizes": (("class_rdm", 24), ("manifolds", 24))}
    run(experiment.vary("odd", trainer={"mixing": odd}), out=tmp_path / "ranks", ranks=2, sinks=[sink])
    require_close(tmp_path / "alone", tmp_path / "ranks")
    best = json.loads((tmp_path / "ranks" / "result.json").read_text())["best_epoch"]
    assert sink.told == [("start", 0, None), *(("epoch", n) for n in range(6)), ("finish", best), ("close",)]
    assert sink.processes == {os.getpid()}
    assert json.loads((tmp_path / "ranks" / "environment.json").read_text())["ranks"] == 2


@pytest.mark.slow
def test_half_precision_is_shared(tmp_path):
    """Sums in half precision round differently where a batch is in parts."""
    experiment = EXPERIMENT.vary("half", trainer={"precision": "bfloat16", "epochs": 3})
    found = [run(experiment, out=tmp_path / f"{n}", ranks=n).scores for n in (1, 2)]
    losses = [scores[(scores.split == "train") & (scores.metric == "loss")].value for scores in found]
    assert len(losses[0]) >= 15
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.03)


@pytest.mark.slow
def test_ranks_leave_out_the_same_steps_while_the_scale_of_float16_is_found(tmp_path):
    """The mean over half a batch has larger gradients for each image, so another scale than alone is found."""
    result = run(EXPERIMENT.vary("half", trainer={"precision": "float16"}), out=tmp_path, ranks=2)
    losses = result.scores[(result.scores.task == "objects") & (result.scores.metric == "loss")].value
    assert losses.notna().all() and losses.iloc[-1] < losses.iloc[0]
    assert load_state(max((tmp_path / "checkpoints").iterdir()))["precision"]["scale"] < 2**16


@pytest.mark.slow
def test_told_to_stop_ranks_stop_after_the_same_step_and_go_on_bit_for_bit(tmp_path, assert_same_run):
    experiment = random_in_training()
    stop = Doing(2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit) as ended:
        run(experiment, out=tmp_path / "cut", ranks=2, sinks=[stop])
    assert ended.value.code == 143
    assert stop.told[-1] == ("close",) and ("finish",) not in {event[:1] for event in stop.told}
    step = RunFolder(tmp_path / "cut").last_step()
    assert 4 <= step < 60
    go_on = Doing(-1, None)
    run(experiment, out=tmp_path / "cut", ranks=2, sinks=[go_on])
    assert go_on.told[0][2] >= 1, "it went on"
    run(experiment, out=tmp_path / "whole", ranks=2)
    assert_same_run(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.slow
def test_a_rank_that_is_killed_ends_the_others_and_nothing_is_lost(tmp_path, assert_same_run):
    experiment = random_in_training()
    kill = Doing(3, lambda: os.kill(child(1), signal.SIGKILL))
    with pytest.raises(LostRankError, match=r"Rank 1 of 2 ended \(signal 9, SIGKILL\).* from that of step \d+") as lost:
        run(experiment, out=tmp_path / "cut", ranks=2, sinks=[kill])
    assert f"of step {RunFolder(tmp_path / 'cut').last_step()}." in str(lost.value)
    assert child(0) is None and child(1) is None
    stop = Doing(6, lambda: os.kill(child(1), signal.SIGTERM))  # told to one of them, it is told to all
    with pytest.raises(SystemExit) as ended:
        run(experiment, out=tmp_path / "cut", ranks=2, sinks=[stop])
    assert ended.value.code == 143
    run(experiment, out=tmp_path / "cut", ranks=2)
    run(experiment, out=tmp_path / "whole", ranks=2)
    assert_same_run(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.slow
def test_a_sink_that_fails_ends_the_ranks(tmp_path):
    def fail():
        raise RuntimeError("the sink broke")

    sink = Doing(1, fail)
    with pytest.raises(RuntimeError, match="the sink broke"):
        run(EXPERIMENT, out=tmp_path / "run", ranks=2, sinks=[sink])
    assert sink.told[-1] == ("close",)
    assert child(0) is None and child(1) is None
    run(EXPERIMENT, out=tmp_path / "run", ranks=2)


@pytest.mark.slow
def test_other_numbers_of_ranks_go_on_where_batches_are_the_same(tmp_path):
    """Nothing is drawn for a stimulus here, so that even the result is the same."""
    run(EXPERIMENT, out=tmp_path / "alone")
    experiment = EXPERIMENT.vary("shared", trainer={"checkpoint_steps": 1})
    with pytest.raises(SystemExit):
        run(experiment, out=tmp_path / "run", sinks=[Doing(1, lambda: os.kill(os.getpid(), signal.SIGTERM))])
    with pytest.raises(SystemExit):
        run(experiment, out=tmp_path / "run", ranks=2, sinks=[Doing(3, lambda: os.kill(os.getpid(), signal.SIGTERM))])
    run(experiment, out=tmp_path / "run")
    require_close(tmp_path / "alone", tmp_path / "run")


@pytest.mark.slow
def test_what_a_rank_refuses_is_raised_as_it_is(tmp_path):
    odd = EXPERIMENT.vary("odd", trainer={"mixing": {"batch_sizes": (("it_rdm", 5),)}})
    with pytest.raises(DataError, match="it_rdm: 2 stimuli a batch and rank make no RDM"):
        run(odd, out=tmp_path / "run", ranks=2)


@pytest.mark.slow
def test_torchrun_starts_ranks_of_which_one_is_heard(tmp_path):
    (tmp_path / "one.yaml").write_text(EXPERIMENT.to_yaml())
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "cotrain"]
    command = [*launcher, "run", "one.yaml", "--out", "runs"]
    variables = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False, timeout=200
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("test scores of epoch") == 1
    run(EXPERIMENT, out=tmp_path / "alone")
    require_close(tmp_path / "alone", tmp_path / "runs" / EXPERIMENT.key())


def started(*arguments: str, folder: Path, **variables: str) -> subprocess.Popen:
    """A Python process that finds cotrain and no other ranks than those it is told of."""
    held = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1", **variables}
    return subprocess.Popen([sys.executable, *arguments], cwd=folder, env=held, stderr=subprocess.PIPE, text=True)


def wait_for(what) -> None:
    end = time.monotonic() + 120
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.mark.slow
def test_ranks_end_with_the_process_that_started_them(tmp_path, assert_same_run):
    experiment = random_in_training().vary("long", trainer={"epochs": 400})
    (tmp_path / "one.yaml").write_text(experiment.to_yaml())
    process = started("-m", "cotrain", "run", "one.yaml", "--ranks", "2", "--out", "runs", folder=tmp_path)
    folder = RunFolder(tmp_path / "runs" / experiment.key())
    wait_for(lambda: (folder.last_step() or 0) > 2 or process.poll() is not None)
    ranks = [child(rank, of=process.pid) for rank in (0, 1)]
    assert None not in ranks
    process.kill()
    process.communicate(timeout=100)  # the pipe is the ranks' as well
    wait_for(lambda: not any(b"_rank_process" in command_of(rank) for rank in ranks))
    assert folder.last_checkpoint() is not None
    with folder.locked():
        pass


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_ranks_of_another_launcher_tell_what_became_of_them(number, tmp_path):
    experiment = random_in_training().vary("long", trainer={"epochs": 400})
    (tmp_path / "one.yaml").write_text(experiment.to_yaml())
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    command = ["-m", "cotrain", "run", "one.yaml", "--out", "runs"]
    ranks = [started(*command, folder=tmp_path, **_environment(rank, 2, store.port)) for rank in range(2)]
    folder = RunFolder(tmp_path / "runs" / experiment.key())
    wait_for(lambda: (folder.last_step() or 0) > 2 or any(rank.poll() is not None for rank in ranks))
    ranks[1].send_signal(number)
    said = [rank.communicate(timeout=60)[1] for rank in ranks]
    step = folder.last_step()
    if number == signal.SIGTERM:
        assert [rank.returncode for rank in ranks] == [143, 143], said
        assert "Traceback" not in said[0] + said[1]
    else:
        assert [rank.returncode for rank in ranks] == [1, -signal.SIGKILL]
        assert said[0].splitlines()[-1] == (
            "cotrain: Rank 1 of 2 ended or does not answer; training stops. Start the same command again: it goes on "
            f"from the checkpoint of step {step}."
        )


def test_fewer_than_one_rank_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="ranks must be 1 or more, found 0"):
        run(EXPERIMENT, out=tmp_path, ranks=0)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs: NCCL gives each rank one of its own")
def test_two_gpus_train_what_one_trains(tmp_path):
    experiment = EXPERIMENT.vary("shared", trainer={"device": "cuda"})
    run(experiment, out=tmp_path / "alone")
    run(experiment, out=tmp_path / "ranks", ranks=2)
    require_close(tmp_path / "alone", tmp_path / "ranks")
