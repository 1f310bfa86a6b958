"""Does a network that is trained on objects and neurons at once predict neurons better than one trained on neurons?

The tasks of the course NX-414 (EPFL): predict macaque neurons from pixels, from principal components of them, from the
layers of networks that were trained on objects and of random ones, from a convolutional network that is trained from
scratch on the neurons, and from one that is trained on objects and neurons. This recipe trains the networks of the
last two; `docs/nx414.md` has the whole table, and what does not need training.

Data: 640 grey pictures of 8 objects and 50 macaque V4 neurons (Cowley, Stan, Pillow & Smith 2023, bioRxiv
2023.11.22.568315), `hvm640_v4/hvm640_v4_210325.npz` in the folder `COTRAIN_DATA`. The course's own data, 168 sites of
macaque IT and 2,880 pictures of 64 objects in 8 categories (Majaj, Hong, Solomon & DiCarlo 2015), are the file
`IT_data.h5` there and a recipe of three lines: `from cotrain.recipes.nx414 import IT, Nx414`, `class Nx414It(Nx414):`,
`data = IT`.

Command: cotrain enqueue nx414; cotrain work; cotrain report nx414 --out nx414.png
Time: 20 to 50 s a run on one core, about 8 minutes for all 12 runs.
Expected, test split (96 pictures), mean of seeds 0, 1, 2; ridge is fitted to the third layer on training pictures:

| experiment | neurons, median r of 50 | by ridge, r | by ridge, explained variance | objects, 8-way accuracy |
|---|---|---|---|---|
| co-trained | .430 | .476 | .229 | .302 |
| neurons only | .488 | .517 | .276 | - |
| objects only | - | - | - | .309 |
| shuffled control | -.007 | .439 | .197 | .274 |
| co-trained, before training | - | .333 | .124 | - |

So no: at this budget learning objects as well costs the neurons .06, and gains the objects nothing, as the published
attempts of the course found, too. The layers of the shuffled control learnt from objects alone; fitted to the true
responses (`cotrain evaluate` fits to the run's own, shuffled ones: r -.02), they predict neurons better than untrained
ones. Single seeds of objects differ from .219 to .385 (96 pictures: a standard error of .05).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from cotrain import Config, Experiment, Recipe
from cotrain.data import (
    ArraysConfig,
    ConditionLabelsConfig,
    JitterConfig,
    LabelArrayConfig,
    MixingConfig,
    RecordedConfig,
    ResponseArrayConfig,
    SelectTasksConfig,
    ShuffledConfig,
)
from cotrain.losses import CrossEntropyConfig, GaussianConfig
from cotrain.models import GaussianReadoutConfig, LinearHeadConfig, SharedBackboneConfig, SmallCnnConfig
from cotrain.tasks import TaskConfig
from cotrain.training import AdamWConfig, TrainerConfig

V4 = ArraysConfig(
    path="hvm640_v4/hvm640_v4_210325.npz",
    size=56,
    tasks=(
        LabelArrayConfig(task="objects"),
        ResponseArrayConfig(task="neurons", session="210325", responses="v4_raw_210325"),
    ),
)
# the file's own training and validation pictures; those for testing, whose responses it keeps back, are replaced by a
# share of the training pictures
IT = RecordedConfig(
    path="IT_data.h5",
    format="majaj2015",
    task="neurons",
    size=56,
    grey=True,
    labels=(ConditionLabelsConfig(task="objects", condition="category"),),
)
OBJECTS = TaskConfig(name="objects", tap="layer4", head=LinearHeadConfig(), objective=CrossEntropyConfig())
NEURONS = TaskConfig(name="neurons", tap="layer3", head=GaussianReadoutConfig(), objective=GaussianConfig())
BACKBONE = SmallCnnConfig(layers=((32, 5, 2), (48, 5, 2), (96, 3, 2), (128, 3, 2)))
# objects may be seen mirrored and far from their place, receptive fields may not
JITTER = (("objects", JitterConfig(pixels=6, mirror=True)), ("neurons", JitterConfig(pixels=2)))


class Nx414(Recipe):
    """Does training on objects and neurons at once predict neurons better than training on neurons?"""

    seeds: ClassVar[tuple[int, ...]] = (0, 1, 2)
    data: ClassVar[Config] = V4

    def experiments(self) -> Iterator[Experiment]:
        """The co-trained network, one from scratch for each task alone, and the control with shuffled responses."""
        together = Experiment(
            "co-trained",
            data=self.data,
            model=SharedBackboneConfig(backbone=BACKBONE, tasks=(OBJECTS, NEURONS)),
            trainer=TrainerConfig(
                epochs=40,
                optimiser=AdamWConfig(lr=3e-3),
                augmentation=JITTER,
                mixing=MixingConfig(main="objects", ratios=((1, (("neurons", 1.0),)),)),
            ),
        )
        yield together
        for label, task in (("neurons only", NEURONS), ("objects only", OBJECTS)):
            yield together.vary(
                label,
                data=SelectTasksConfig(data=self.data, tasks=(task.name,)),
                model={"tasks": (task,)},
                trainer={
                    "augmentation": tuple(entry for entry in JITTER if entry[0] == task.name),
                    "mixing": {"main": task.name, "ratios": ()},
                },
            )
        yield together.vary("shuffled control", data=ShuffledConfig(data=self.data, tasks=("neurons",)))
