"""How the trainer's own cost grows with sessions, tasks and neurons: python benchmarks/growth.py [--help]

A small network is trained on a main task and on neural tasks, each batch of 32 in turn; one of three numbers grows at
a time: the sessions of one neural task, the neural tasks of one session, the neurons of one session. Three things are
timed in turn, on one thread, in process CPU time:

    micro-step   one batch through the trainer: loader, forward, loss, backward, sums, and its share of the
                 optimiser's step
    plain        the same arithmetic by hand with torch: the same modules, batches gathered by indices drawn
                 beforehand, backward, and the same optimiser's step after as many batches
    epoch's end  losses read from the device, a line of the journal, the state gathered for a checkpoint

Medians of several turns; each ratio is the median of ratios within a turn. What is to stay flat is micro-step / plain:
the optimiser itself has more parameters to visit as sessions and neurons grow, on both sides.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

import torch
from _steps import TrainingState, end_of_epoch, epoch, in_turn, training_state
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from cotrain.data import Data, MicroStep, MixingConfig, Source, assemble
from cotrain.losses import CrossEntropyConfig, GaussianConfig
from cotrain.models import FactorizedReadoutConfig, LinearHeadConfig, SharedBackboneConfig, SmallCnnConfig
from cotrain.tasks import TaskConfig
from cotrain.training import ConstantConfig, JournalSink, SgdConfig, TrainerConfig

BATCH, STIMULI, SIZE, LIMIT = 32, 256, 16, 1.10


class Shape(NamedTuple):
    """Of the neural tasks; and how many batches of the main task there are in an epoch."""

    steps: int = 16
    tasks: int = 1
    sessions: int = 1
    neurons: int = 50


GROWING = {
    "sessions": tuple(Shape(steps=64, sessions=number) for number in (1, 4, 16, 64)),
    "tasks": tuple(Shape(tasks=number) for number in (1, 2, 4, 8)),
    "neurons": tuple(Shape(neurons=number) for number in (50, 500, 5000)),
}


def data(shape: Shape) -> Data:
    """Random images with labels, and with responses."""
    generator = torch.Generator().manual_seed(0)

    def images(count: int) -> torch.Tensor:
        return torch.randint(0, 256, (count, 1, SIZE, SIZE), generator=generator, dtype=torch.uint8)

    def neural(count: int) -> Source:
        return Source("neural", images(count), torch.randn(count, shape.neurons, generator=generator))

    def split(main: int, other: int) -> dict[str, dict[str, Source]]:
        labels = torch.arange(main) % 10
        tasks = {"objects": {"": Source("classification", images(main), labels, tuple("abcdefghij"))}}
        for task in range(shape.tasks):
            tasks[f"area{task}"] = {f"s{session}": neural(other) for session in range(shape.sessions)}
        return tasks

    return assemble({"train": split(BATCH * shape.steps, STIMULI), "validation": split(20, 4), "test": split(20, 4)})


def configs(shape: Shape) -> tuple[SharedBackboneConfig, TrainerConfig]:
    """The model, with a readout for each session, and the trainer: one batch of each task for each main batch."""
    areas = [f"area{task}" for task in range(shape.tasks)]
    main = TaskConfig(name="objects", tap="layer2", head=LinearHeadConfig(), objective=CrossEntropyConfig(weight=1.0))
    model = SharedBackboneConfig(
        batch_norm="shared",
        backbone=SmallCnnConfig(layers=((16, 3, 2), (32, 3, 2))),
        tasks=(
            main,
            *(
                TaskConfig(
                    name=area, tap="layer2", head=FactorizedReadoutConfig(), objective=GaussianConfig(weight=1.0)
                )
                for area in areas
            ),
        ),
    )
    mixing = MixingConfig(main="objects", ratios=((1, tuple((area, 1.0) for area in areas)),), batch_size=BATCH)
    trainer = TrainerConfig(
        epochs=1000, optimiser=SgdConfig(lr=0.001), schedule=ConstantConfig(), mixing=mixing, device="cpu"
    )
    return model, trainer


def plain(run: TrainingState, order: list[tuple[MicroStep, Tensor]]) -> None:
    """The same arithmetic by hand."""
    model, optimiser = run.model, run.optimiser
    total = torch.zeros(())
    for turn, index in order:
        task, session = turn.task, turn.session
        source = run.splits["train"][task][session]
        features = model.backbone(model.inputs[task](source.images[index]))
        output, targets = model.heads[task](features, session), source.targets[index]
        loss = cross_entropy(output, targets) if task == "objects" else 0.5 * mse_loss(output, targets)
        loss.backward()
        total += loss.detach()
        if turn.step_ends:
            optimiser.step()
            optimiser.zero_grad()


class Side(NamedTuple):
    """Of one shape: what is timed, and in how many micro-steps."""

    step: Callable[[], None]
    plain: Callable[[], None]
    end: Callable[[], None]
    micro_steps: int


def sides(run: TrainingState) -> Side:
    """What is timed of a run that is about to begin."""
    journal = JournalSink(run.folder.journal)
    journal.start([], None)
    order = [(turn, run.loader.indices(turn)) for turn in run.loader.schedule.epoch(1)]

    def end() -> None:
        end_of_epoch(run, journal)
        run.state_dict()

    return Side(lambda: epoch(run), lambda: plain(run, order), end, len(order))


def seconds(action: Callable[[], None]) -> float:
    """CPU time of this process."""
    started = time.process_time()
    action()
    return time.process_time() - started


def grow(what: str, shapes: tuple[Shape, ...], turns: int) -> None:
    """A table of one number that grows."""
    print(f"| {what} | micro-step, us | plain, us | micro-step / plain | to the first | epoch's end, ms |")
    print("|---:|---:|---:|---:|---:|---:|")
    with ExitStack() as ends:
        held = {}
        for shape in shapes:
            model, trainer = configs(shape)
            held[shape] = sides(ends.enter_context(training_state(trainer, model, data(shape))))

        def turn(side: Side) -> tuple[float, float, float]:
            return seconds(side.step) / side.micro_steps, seconds(side.plain) / side.micro_steps, seconds(side.end)

        actions = {str(getattr(shape, what)): lambda side=side: turn(side) for shape, side in held.items()}
        in_turn(actions, 1)
        found = in_turn(actions, turns)
        first = next(iter(found.values()))
        for number, times in found.items():
            step, by_hand, end = (statistics.median(values) for values in zip(*times, strict=True))
            ratio = statistics.median(own / other for own, other, _ in times)
            growth = statistics.median(own[0] / other[0] for own, other in zip(times, first, strict=True))
            print(
                f"| {number} | {1e6 * step:.0f} | {1e6 * by_hand:.0f} | {ratio:.3f} | {growth:.2f} | {1e3 * end:.1f} |"
            )
    print()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    turns = parser.parse_args().turns
    torch.set_num_threads(1)
    for what, shapes in GROWING.items():
        grow(what, shapes, turns)
    print(f"limit of micro-step / plain at any size: {LIMIT}")


if __name__ == "__main__":
    main()
