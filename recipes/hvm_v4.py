"""Does a network that learns to name objects also learn macaque V4 and its geometry, from the same 640 pictures?

Data: 640 grey pictures of 8 objects on backgrounds, spike counts of 50 macaque V4 neurons with 6 to 10 repeats (Cowley,
Stan, Pillow & Smith 2023, bioRxiv 2023.11.22.568315); `hvm640_v4/hvm640_v4_210325.npz` in the folder `COTRAIN_DATA`.
"""

from __future__ import annotations

from collections.abc import Iterator

from cotrain import Experiment, Recipe
from cotrain.data import (
    ArraysConfig,
    JitterConfig,
    LabelArrayConfig,
    MixingConfig,
    ResponseArrayConfig,
    ResponseRdmConfig,
    SelectTasksConfig,
    ShuffledConfig,
)
from cotrain.losses import CrossEntropyConfig, GaussianConfig, RdmMatchConfig
from cotrain.models import GaussianReadoutConfig, LinearHeadConfig, RdmHeadConfig, SharedBackboneConfig, SmallCnnConfig
from cotrain.tasks import TaskConfig
from cotrain.training import AdamWConfig, TrainerConfig

DATA = ArraysConfig(
    path="hvm640_v4/hvm640_v4_210325.npz",
    size=56,
    tasks=(
        LabelArrayConfig(task="objects"),
        ResponseArrayConfig(task="v4", session="210325", responses="v4_raw_210325"),
        ResponseRdmConfig(task="v4_rdm", responses="v4_avg_210325"),
    ),
)
OBJECTS = TaskConfig(name="objects", tap="layer4", head=LinearHeadConfig(), objective=CrossEntropyConfig())
NEURONS = TaskConfig(name="v4", tap="layer3", head=GaussianReadoutConfig(), objective=GaussianConfig())
RDM = TaskConfig(name="v4_rdm", tap="layer3", head=RdmHeadConfig(), objective=RdmMatchConfig())
BACKBONE = SmallCnnConfig(layers=((32, 5, 2), (48, 5, 2), (96, 3, 2), (128, 3, 2)))
# objects may be seen mirrored and far from their place, receptive fields may not
JITTER = (
    ("objects", JitterConfig(pixels=6, mirror=True)),
    ("v4", JitterConfig(pixels=2)),
    ("v4_rdm", JitterConfig(pixels=2)),
)


class HvmV4(Recipe):
    """Does a network that learns to name objects also learn macaque V4 and its geometry, from the same 640 pictures?"""

    seeds = (0, 1, 2)

    def experiments(self) -> Iterator[Experiment]:
        """The co-trained network, a network for each task alone, and the control with shuffled responses."""
        together = Experiment(
            "co-trained",
            data=DATA,
            model=SharedBackboneConfig(backbone=BACKBONE, tasks=(OBJECTS, NEURONS, RDM)),
            trainer=TrainerConfig(
                epochs=60,
                optimiser=AdamWConfig(lr=3e-3),
                augmentation=JITTER,
                mixing=MixingConfig(main="objects", ratios=((1, (("v4", 1.0), ("v4_rdm", 1.0))),)),
            ),
        )
        yield together
        for label, task in (("objects only", OBJECTS), ("V4 only", NEURONS), ("RDM only", RDM)):
            yield together.vary(
                label,
                data=SelectTasksConfig(data=DATA, tasks=(task.name,)),
                model={"tasks": (task,)},
                trainer={
                    "augmentation": tuple(entry for entry in JITTER if entry[0] == task.name),
                    "mixing": {"main": task.name, "ratios": ()},
                },
            )
        yield together.vary("shuffled control", data=ShuffledConfig(data=DATA, tasks=("v4", "v4_rdm")))
