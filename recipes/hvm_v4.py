"""Does a network that learns to name objects also learn macaque V4 and its geometry, from the same 640 pictures?

Data: 640 grey pictures of 8 objects on backgrounds, spike counts of 50 macaque V4 neurons with 6 to 10 repeats (Cowley,
Stan, Pillow & Smith 2023, bioRxiv 2023.11.22.568315); `hvm640_v4/hvm640_v4_210325.npz` in the folder `COTRAIN_DATA`.

Command: cotrain enqueue hvm_v4; cotrain work; cotrain report hvm_v4 --out hvm_v4.png
Time: 1 to 2 minutes a co-trained run, 30 s a single task, on one core; about 25 minutes for all 15 runs.
Expected, test split (96 pictures), mean of seeds 0, 1, 2:

| experiment | objects, 8-way accuracy | V4, median r of 50 neurons | V4 RDM, Spearman |
|---|---|---|---|
| co-trained | .351 | .493 | .491 |
| each alone | .340 | .497 | .522 |
| shuffled control | .365 | -.024 | .252 |
| pixels (ridge, correlation distance) | .27 | .26 | .09 |
| random network (ridge) | - | .37 | - |

The RDM of the shuffled control is not at zero: features that were learnt from objects alone, and even those of an
untrained network (.17 in epoch 0), share some geometry with V4. Single seeds differ: objects .240 to .406 (96 pictures:
a standard error of .05), RDM .470 to .531. Split halves of the recording agree at .58 (RDM, Spearman).
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
