"""A tiny experiment with all three kinds of task and all that is random in training; and what compares two runs."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from cotrain import Experiment, run
from cotrain.data import DigitsConfig, JitterConfig, MixingConfig, MultiTaskConfig, SimulatedV1Config, _natural_patches
from cotrain.losses import CrossEntropyConfig, QuasiPoissonConfig, RdmMatchConfig
from cotrain.models import GaussianReadoutConfig, LinearHeadConfig, RdmHeadConfig, SharedBackboneConfig, SmallCnnConfig
from cotrain.tasks import TaskConfig
from cotrain.training import AdamWConfig, MonitorConfig, RunFolder, RunResult, TrainerConfig, load_state
from cotrain.training._state import TrainingState

CUT = functools.cache(_natural_patches._candidates)
SMALL = {"neurons": 5, "stimuli": 60, "repeats": 2, "rdm_neurons": 20, "rdm_stimuli": 40, "size": 12}
DATA = MultiTaskConfig(parts=(DigitsConfig(size=12), SimulatedV1Config(**SMALL, rdm_task="simulated_rdm")))
MODEL = SharedBackboneConfig(
    backbone=SmallCnnConfig(layers=((4, 5, 2), (6, 3, 1))),
    tasks=(
        TaskConfig(name="digits", tap="layer2", head=LinearHeadConfig(pool="flatten"), objective=CrossEntropyConfig()),
        TaskConfig(
            name="simulated_v1",
            tap="layer1",
            head=GaussianReadoutConfig(output="elu", feature_l1=0.1),
            objective=QuasiPoissonConfig(),
        ),
        TaskConfig(
            name="simulated_rdm", tap="layer1", head=RdmHeadConfig(), objective=RdmMatchConfig(weight="learned")
        ),
    ),
)
TRAINER = TrainerConfig(
    mixing=MixingConfig(
        main="digits",
        ratios=((1, (("simulated_v1", 1.3), ("simulated_rdm", "2/3"))), (3, (("simulated_v1", 0.7),))),
        batch_size=128,
        batch_sizes=(("simulated_v1", 16), ("simulated_rdm", 12)),
    ),
    epochs=8,
    optimiser=AdamWConfig(lr=0.02),
    monitor=MonitorConfig(tasks=(("digits", 1.0),), patience=2, tolerance=0.1),  # stops long before the last epoch
    augmentation=(("digits", JitterConfig(pixels=1, mirror=True)), ("simulated_v1", JitterConfig(pixels=1))),
    clip_norm=1.0,
    device="cpu",
    checkpoint_steps=3,
    keep_epochs=(1, 3),
)


@pytest.fixture(autouse=True, scope="module")
def _patches_are_cut_once() -> Iterator[None]:
    """Cutting all patches of two photographs would take most of the time of a tiny run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_natural_patches, "_candidates", CUT)
        yield


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Tiny tensors are not made faster by more, and other processes may want them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Experiment]:
    """A function of changes to the trainer's config that gives the experiment."""

    def make(*, seed: int = 0, model: Mapping[str, Any] | None = None, **trainer: Any) -> Experiment:
        held = Experiment("tiny", data=DATA, model=MODEL, trainer=TRAINER, seed=seed)
        return held.vary("tiny", model=model, trainer=trainer)

    return make


@pytest.fixture(scope="session")
def digits() -> Callable[..., Experiment]:
    """As `tiny`, for the digits alone and faster: a constant number of epochs, nothing random."""

    def make(*, seed: int = 0, **trainer: Any) -> Experiment:
        model = MODEL.replace(tasks=MODEL.tasks[:1])
        mixing = MixingConfig(main="digits", batch_size=128)
        config = TrainerConfig(mixing=mixing, epochs=2, optimiser=AdamWConfig(lr=0.02), device="cpu")
        return Experiment("digits", data=DATA.parts[0], model=model, trainer=config, seed=seed).vary(
            "digits", trainer=trainer
        )

    return make


@pytest.fixture(scope="session")
def finished(tiny: Callable[..., Experiment], tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """The tiny experiment, run without interruption; nobody may change its folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_natural_patches, "_candidates", CUT)
        return run(tiny(), out=tmp_path_factory.mktemp("finished"))


@pytest.fixture(scope="session")
def journal() -> Callable[[Path], list[Any]]:
    """A function that reads all of a run's journal but the times."""

    def read(folder: Path) -> list[Any]:
        lines = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
        return [(line["epoch"], line.get("finished", False), line["scores"]) for line in lines]

    return read


@pytest.fixture(scope="session")
def assert_same_run(journal: Callable[[Path], list[Any]]) -> Callable[[Path, Path], None]:
    """A function that compares two finished runs bit for bit, and looks for what one of them left behind."""

    def compare(folder: Path, other: Path) -> None:
        assert journal(folder) == journal(other)
        kept = [f"kept/{file.name}" for file in RunFolder(other).kept_epochs().values()]
        assert kept == [f"kept/{file.name}" for file in RunFolder(folder).kept_epochs().values()]
        for name in ("best.pt", f"checkpoints/{_newest(other)}", *kept):
            assert _plain(load_state(folder / name)) == _plain(load_state(other / name)), name
        assert _newest(folder) == _newest(other)
        assert json.loads((folder / "result.json").read_text())["best_epoch"] == journal(other)[-1][0]
        assert len(list((folder / "checkpoints").iterdir())) == 2
        known = {path.name for path in vars(RunFolder(folder)).values()} | {".lock"} - {folder.name}
        assert {path.name for path in folder.iterdir()} <= known

    return compare


def _newest(folder: Path) -> str:
    return max(path.name for path in (folder / "checkpoints").iterdir())


def _plain(state: Any) -> Any:
    """Bits in place of tensors, text in place of numbers (NaN is not equal to itself)."""
    if isinstance(state, torch.Tensor):
        return state.dtype, tuple(state.shape), state.contiguous().numpy().tobytes()
    if isinstance(state, Mapping):
        return {key: _plain(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [_plain(value) for value in state]
    return repr(state)


class PulledPlugError(Exception):
    """What ends a run in a test."""


@pytest.fixture(scope="session")
def pull_plug() -> Callable[..., None]:
    """A function that runs an experiment until its n-th batch, where it fails."""

    def go(experiment: Experiment, out: Path, *, after: int, **options: Any) -> None:
        count, micro_step = itertools.count(1), TrainingState.micro_step

        def pulled(self: TrainingState, batch: Any) -> None:
            if next(count) > after:
                raise PulledPlugError(f"after batch {after}")
            micro_step(self, batch)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TrainingState, "micro_step", pulled)
            with pytest.raises(PulledPlugError, match=f"after batch {after}"):
                run(experiment, out=out, **options)

    return go


@pytest.fixture(scope="session")
def states() -> Callable[..., dict[int, Any]]:
    """A function that runs an experiment and gives {optimiser step: checkpoint}, those let go included."""

    def go(experiment: Experiment, out: Path, **options: Any) -> dict[int, Any]:
        found: dict[int, Any] = {}
        save = RunFolder.save_checkpoint

        def kept(self: RunFolder, step: int, state: dict[str, Any]) -> None:
            save(self, step, state)
            found[step] = load_state(self.checkpoints / f"step-{step:09d}.pt")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(RunFolder, "save_checkpoint", kept)
            run(experiment, out=out, **options)
        return found

    return go
