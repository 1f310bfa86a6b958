"""Does a network learn digits sooner when it starts from a student that saw no label, only a teacher's units?

A chain of three: a teacher learns digits; a student learns what 60 units of the teacher's second layer answer to the
same images, and no label; a third network starts from the student's backbone and learns digits for two epochs. The
control learns the same two epochs from scratch. What a run needs is trained before it, with its own seed.

Data: 1,797 real handwritten digits that come with scikit-learn. Nothing is downloaded.

Command: cotrain run digits_chain   (or: cotrain enqueue digits_chain; cotrain work; cotrain report digits_chain)
Time: 20 seconds of computing on one core for all eight runs; under a minute on a busy machine.
Expected, test split, mean of seeds 0 and 1, one thread (chance: accuracy .1, r 0):

| experiment | digits accuracy | teacher's units, median r |
|---|---|---|
| teacher | .986 | |
| student of units only | | .828 |
| from scratch, labels only | .742 | |
| started from the student | .741 | |

So it does not, here: .733 and .750 from scratch, .751 and .730 from the student.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from cotrain import Experiment, Recipe
from cotrain.data import DigitsConfig, MixingConfig, SelectTasksConfig
from cotrain.losses import CrossEntropyConfig, GaussianConfig
from cotrain.models import GaussianReadoutConfig, LinearHeadConfig, SharedBackboneConfig, SmallCnnConfig
from cotrain.tasks import TaskConfig
from cotrain.training import AdamWConfig, StartFromConfig, TeacherResponsesConfig, TrainerConfig, run_of

DATA = DigitsConfig(size=16)
DIGITS = TaskConfig(name="digits", tap="layer3", head=LinearHeadConfig(), objective=CrossEntropyConfig())
UNITS = TaskConfig(name="units", tap="layer3", head=GaussianReadoutConfig(), objective=GaussianConfig())


class DigitsChain(Recipe):
    """Does a network learn digits sooner when it starts from a student that saw only a teacher's units?"""

    seeds: ClassVar[tuple[int, ...]] = (0, 1)

    def experiments(self) -> Iterator[Experiment]:
        """The teacher, its student, the network that starts from the student, and the same one from scratch."""
        teacher = Experiment(
            "teacher",
            data=DATA,
            model=SharedBackboneConfig(
                backbone=SmallCnnConfig(layers=((24, 5, 1), (32, 3, 2), (48, 3, 2))), tasks=(DIGITS,)
            ),
            trainer=TrainerConfig(epochs=12, optimiser=AdamWConfig(lr=1e-2), mixing=MixingConfig(main="digits")),
        )
        yield teacher
        responses = TeacherResponsesConfig(
            data=DATA, shown="digits", run=run_of(teacher), layer="layer2", task="units", neurons=60
        )
        backbone = SmallCnnConfig(layers=((16, 5, 1), (24, 3, 2), (32, 3, 1)))
        student = teacher.vary(
            "student of units only",
            data=SelectTasksConfig(data=responses, tasks=("units",)),
            model=SharedBackboneConfig(backbone=backbone, tasks=(UNITS,)),
            trainer={"mixing": {"main": "units"}},
        )
        yield student
        scratch = teacher.vary(
            "from scratch, labels only",
            model={"backbone": backbone},
            trainer={"epochs": 2},
        )
        yield scratch
        yield scratch.vary("started from the student", model=StartFromConfig(model=scratch.model, run=run_of(student)))
