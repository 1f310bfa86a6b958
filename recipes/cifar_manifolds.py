"""Does learning macaque V4 beside object names make the manifolds of objects easier to part?

After Cohen, Chung, Lee & Sompolinsky 2020 (Nature Communications 11:746), who follow capacity, radius, dimension and
centre correlation of object manifolds through the layers of networks; here beside what co-training does to them, and
over training. The network is that of `cifar_v4`.

- "objects only": the baseline.
- "co-trained, V4": five macaque V4 sessions, a batch of 32 with every second batch of pictures.
- "shuffled control": the same responses, to other pictures.

Data in the folder `COTRAIN_DATA`: `cifar10/cifar10_jpeg_20k.npz` and `cowley_v4/`, as in `cifar_v4`.

Command: cotrain enqueue cifar_manifolds; cotrain work; cotrain report cifar_manifolds --baseline "objects only"
Expected: 0.0
Time: tbd
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from cotrain import Experiment, Recipe
from cotrain.data import (
    ArraysConfig,
    JitterConfig,
    LabelArrayConfig,
    MixingConfig,
    MultiTaskConfig,
    RecordedConfig,
    ShuffledConfig,
    SplitConfig,
)
from cotrain.losses import CrossEntropyConfig, GaussianConfig
from cotrain.models import GaussianReadoutConfig, LinearHeadConfig, SharedBackboneConfig, SmallCnnConfig
from cotrain.tasks import TaskConfig
from cotrain.training import AdamWConfig, MonitorConfig, TrainerConfig

PICTURES = ArraysConfig(
    path="cifar10/cifar10_jpeg_20k.npz",
    images="train_images",
    test_images="test_images",
    tasks=(LabelArrayConfig(task="objects", labels="train_labels", test_labels="test_labels"),),
    split=SplitConfig(validation=0.1, test=0.0),
)
# not 210305, most of whose pictures are near copies of each other
V4 = RecordedConfig(
    path="cowley_v4", sessions=("190923", "190927", "190928", "190929", "210325"), format="cowley2023", size=48
)
BOTH = MultiTaskConfig(parts=(PICTURES, V4))

OBJECTS = TaskConfig(name="objects", tap="layer4", head=LinearHeadConfig(), objective=CrossEntropyConfig())
NEURONS = TaskConfig(name="v4", tap="layer3", head=GaussianReadoutConfig(), objective=GaussianConfig())
BACKBONE = SmallCnnConfig(layers=((24, 5, 2), (32, 3, 1), (64, 3, 2), (96, 3, 2)), input_channels=3)
OF_PICTURES = ("objects", JitterConfig(pixels=3, mirror=True))
EPOCHS = 3


class CifarManifolds(Recipe):
    """Does learning macaque V4 beside object names make the manifolds of objects easier to part?"""

    seeds: ClassVar[tuple[int, ...]] = (0, 1)

    def experiments(self) -> Iterator[Experiment]:
        """Objects only, co-trained with V4, and the shuffled control."""
        baseline = Experiment(
            "objects only",
            data=PICTURES,
            model=SharedBackboneConfig(backbone=BACKBONE, tasks=(OBJECTS,)),
            trainer=TrainerConfig(
                epochs=EPOCHS,
                optimiser=AdamWConfig(lr=1e-2),
                augmentation=(OF_PICTURES,),
                mixing=MixingConfig(main="objects"),
                monitor=MonitorConfig(tasks=(("objects", 1.0),)),
                keep_epochs=tuple(range(1, EPOCHS + 1)),
                channels_last=True,
            ),
        )
        yield baseline
        together = baseline.vary(
            "co-trained, V4",
            data=BOTH,
            model={"tasks": (OBJECTS, NEURONS)},
            trainer={
                "mixing": {"ratios": ((1, (("v4", 0.5),)),), "batch_sizes": (("v4", 32),)},
                "augmentation": (OF_PICTURES, ("v4", JitterConfig(pixels=2))),
            },
        )
        yield together
        yield together.vary("shuffled control", data=ShuffledConfig(data=BOTH, tasks=("v4",)))
