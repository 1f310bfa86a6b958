"""Recipes that train in a second, on a file of arrays that they write themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from cotrain import Config, Experiment, Recipe
from cotrain.data import (
    ArraysConfig,
    LabelArrayConfig,
    MixingConfig,
    ResponseArrayConfig,
    ResponseRdmConfig,
    SelectTasksConfig,
)
from cotrain.losses import CrossEntropyConfig, GaussianConfig, RdmMatchConfig
from cotrain.models import (
    GaussianReadoutConfig,
    LinearHeadConfig,
    PenultimateConfig,
    RdmHeadConfig,
    SharedBackboneConfig,
    SmallCnnConfig,
)
from cotrain.tasks import TaskConfig
from cotrain.training import (
    AdamWConfig,
    NetworkRdmConfig,
    StartFromConfig,
    TeacherResponsesConfig,
    TrainerConfig,
    run_of,
)

STIMULI, SIZE, NEURONS, CLASSES = 90, 12, 5, 3

STRIPES = TaskConfig(name="stripes", tap="layer2", head=LinearHeadConfig(), objective=CrossEntropyConfig())
CELLS = TaskConfig(name="cells", tap="layer1", head=GaussianReadoutConfig(), objective=GaussianConfig())
RDM = TaskConfig(name="cell_rdm", tap="layer2", head=RdmHeadConfig(), objective=RdmMatchConfig())
DATA = ArraysConfig(
    path="tiny.npz",
    tasks=(
        LabelArrayConfig(task="stripes"),
        ResponseArrayConfig(task="cells", session="first", responses="responses"),
        ResponseRdmConfig(task="cell_rdm", responses="responses"),
    ),
)
ALONE = {"mixing": {"ratios": ()}}  # of the trainer, where one task is learnt


def write_data(folder: Path) -> None:
    """The file `tiny.npz`: stripes of three widths, and responses to them."""
    random = np.random.default_rng(0)
    labels = np.arange(STIMULI) % CLASSES
    columns = np.arange(SIZE)[None, :] // (labels[:, None] + 1) % 2
    images = 100 * columns[:, None, :] + random.integers(0, 100, (STIMULI, SIZE, SIZE))
    means = images.reshape(STIMULI, -1) @ random.normal(size=(SIZE * SIZE, NEURONS)) / 300
    responses = means + random.normal(size=means.shape)
    names = np.array(["thin", "middle", "broad"])
    np.savez(folder / "tiny.npz", images=images.astype(np.uint8), labels=labels, class_names=names, responses=responses)


def experiment(label: str, *, epochs: int, lr: float = 2e-3) -> Experiment:
    """All three tasks on two layers."""
    return Experiment(
        label,
        data=DATA,
        model=SharedBackboneConfig(backbone=SmallCnnConfig(layers=((4, 3, 2), (6, 3, 1))), tasks=(STRIPES, CELLS, RDM)),
        trainer=TrainerConfig(
            epochs=epochs,
            device="cpu",
            optimiser=AdamWConfig(lr=lr),
            mixing=MixingConfig(main="stripes", batch_size=16, ratios=((1, (("cells", 1.0), ("cell_rdm", 0.5))),)),
        ),
    )


class Tiny(Recipe):
    """Do two layers learn stripes and cells at once?

    This line is no part of the question.
    """

    def experiments(self) -> Iterator[Experiment]:
        """All tasks together, and the labels alone."""
        both = experiment("together", epochs=2)
        yield both
        yield both.vary(
            "stripes only",
            data=SelectTasksConfig(data=DATA, tasks=("stripes",)),
            model={"tasks": (STRIPES,)},
            trainer={"mixing": {"ratios": ()}},
        )


class Larger(Recipe):
    """Does it hold when images, which must be larger for that, are corrupted?"""

    def experiments(self) -> Iterator[Experiment]:
        """As `Tiny`, and a run without a classification."""
        large = DATA.replace(size=32)
        both = experiment("together", epochs=1).vary("together", data=large)
        yield both
        yield both.vary(
            "stripes only",
            data=SelectTasksConfig(data=large, tasks=("stripes",)),
            model={"tasks": (STRIPES,)},
            trainer=ALONE,
        )
        yield both.vary(
            "cells only",
            data=SelectTasksConfig(data=large, tasks=("cells",)),
            model={"tasks": (CELLS,)},
            trainer={"mixing": {"main": "cells", "ratios": ()}},
        )


class Again(Recipe):
    """Is the same experiment under another label the same run?"""

    def experiments(self) -> Iterator[Experiment]:
        """One of `Tiny`, and one of its own."""
        yield experiment("once more", epochs=2)
        yield experiment("longer", epochs=3)


class Failing(Recipe):
    """Do others go on when one fails?"""

    def experiments(self) -> Iterator[Experiment]:
        """The second one's loss is soon infinite."""
        yield experiment("before", epochs=1)
        yield experiment("absurd", epochs=4, lr=1e30)
        yield experiment("after", epochs=1, lr=1e-3)


class Six(Recipe):
    """Is each of six runs trained once?"""

    seeds: ClassVar = (0, 1, 2, 3, 4, 5)

    def experiments(self) -> Iterator[Experiment]:
        """One, with six seeds, long enough to be watched."""
        yield experiment("watched", epochs=40)


class Long(Recipe):
    """Does a run go on where it was stopped?"""

    def experiments(self) -> Iterator[Experiment]:
        """Long enough to be stopped on its way."""
        yield experiment("long", epochs=25)


class Chain(Recipe):
    """Does what needs another run wait for it?"""

    seeds: ClassVar = (0, 1)

    def experiments(self) -> Iterator[Experiment]:
        """The last one comes first: it starts from the second, which learns what a teacher's units do."""
        teacher = experiment("teacher", epochs=2).vary(
            "teacher", data=SelectTasksConfig(data=DATA, tasks=("stripes",)), model={"tasks": (STRIPES,)}, trainer=ALONE
        )
        student = teacher.vary(
            "student",
            data=TeacherResponsesConfig(data=teacher.data, shown="stripes", run=run_of(teacher), layer="layer1"),
            model={"tasks": (STRIPES, CELLS.replace(name="teacher"))},
            trainer={"mixing": {"ratios": ((1, (("teacher", 1.0),)),)}},
        )
        yield teacher.vary("started", model=StartFromConfig(model=teacher.model, run=run_of(student)))
        yield student
        yield teacher


class Kept(Recipe):
    """How do weights develop?"""

    def experiments(self) -> Iterator[Experiment]:
        """A run that keeps some, and one that starts from it and keeps none."""
        several = experiment("kept", epochs=3).vary("kept", trainer={"keep_epochs": (1, 2)})
        yield several
        yield several.vary(
            "started",
            model=StartFromConfig(model=several.model, run=run_of(several)),
            trainer={"epochs": 1, "keep_epochs": ()},
        )


class OneChain(Chain):
    """Does the same hold for one seed?"""

    seeds: ClassVar = (0,)


class Last(Chain):
    """Are runs that others need trained where the recipe does not have them?"""

    def experiments(self) -> Iterator[Experiment]:
        """The last one of `Chain` alone."""
        yield next(super().experiments())


class Broken(Recipe):
    """Does what needs a failed run wait, and nothing else?"""

    def experiments(self) -> Iterator[Experiment]:
        """A run whose loss is soon infinite, one that needs it, one that needs that, and one that needs none."""
        absurd = experiment("absurd", epochs=4, lr=1e30)
        needing = experiment("needing", epochs=1).vary(
            "needing", model=StartFromConfig(model=absurd.model, run=run_of(absurd))
        )
        yield needing.vary("far", model=StartFromConfig(model=absurd.model, run=run_of(needing)))
        yield needing
        yield absurd
        yield experiment("free", epochs=1)


class Named(Recipe):
    """Does a run wait for one that is named by its key?"""

    def experiments(self) -> Iterator[Experiment]:
        """One that starts from the first of `Again`."""
        first = experiment("once more", epochs=2)
        yield first.vary("named", model=StartFromConfig(model=first.model, run=first.key()), trainer={"epochs": 1})


class Finetuned(Recipe):
    """Are stripes told apart better after learning a geometry alone?"""

    seeds: ClassVar = (0, 1)

    def experiments(self) -> Iterator[Experiment]:
        """A student, and what it becomes with the geometry of cells, of a network, or with cells and labels."""
        student = experiment("student", epochs=2).vary(
            "student", data=SelectTasksConfig(data=DATA, tasks=("stripes",)), model={"tasks": (STRIPES,)}, trainer=ALONE
        )
        teacher = NetworkRdmConfig(
            data=DATA, shown="stripes", network=PenultimateConfig(name="squeezenet1_1"), size=32, task="network_rdm"
        )
        yield _finetuned(student, "cells", DATA, "cell_rdm")
        yield _finetuned(student, "network", teacher, teacher.task)
        yield student.vary(
            "both",
            data=SelectTasksConfig(data=DATA, tasks=("stripes", "cell_rdm")),
            model=StartFromConfig(model=student.model.replace(tasks=(STRIPES, RDM)), run=run_of(student)),
            trainer={"mixing": {"ratios": ((1, (("cell_rdm", 1.0),)),)}},
        )
        yield student


def _finetuned(student: Experiment, label: str, data: Config, task: str) -> Experiment:
    """The student's backbone, which learns one RDM and nothing else."""
    model = student.model.replace(tasks=(RDM.replace(name=task),))
    return student.vary(
        label,
        data=SelectTasksConfig(data=data, tasks=(task,)),
        model=StartFromConfig(model=model, run=run_of(student)),
        trainer={"mixing": {"main": task, "ratios": ()}, "optimiser": {"lr": 0.02}},
    )
