"""Does learning macaque V4 beside object names make the manifolds of objects easier to part?

After Cohen, Chung, Lee & Sompolinsky 2020 (Nature Communications 11:746), who follow capacity, radius, dimension and
centre correlation of object manifolds through the layers of networks; here beside what co-training does to them, and
over training. The network is that of `cifar_v4`.

- "objects only": the baseline.
- "co-trained, V4": five macaque V4 sessions, a batch of 32 with every second batch of pictures.
- "shuffled control": the same responses, to other pictures.

Data in the folder `COTRAIN_DATA`: `cifar10/cifar10_jpeg_20k.npz` and `cowley_v4/`, as in `cifar_v4`.

Command: cotrain enqueue cifar_manifolds; cotrain work; cotrain report cifar_manifolds --baseline "objects only"
Then: cotrain evaluate --suite manifolds --recipe cifar_manifolds --config manifolds.yaml, with the lines
`layers: ['layer?']`, `epochs: [initial, kept]` and `joint_draws: 0` in manifolds.yaml; and cotrain plot manifolds
--recipe cifar_manifolds --out layers.png, or with --show training --layer layer4.
Time: 40 seconds of one core a run, 6 minutes for all nine; 15 seconds a run for the manifolds of its four epochs.
Expected, test split, seeds 0 to 2, mean and Student's 95 % interval over seeds, of 10 classes with 50 images each in
layer4, where capacity of noise is .040:

| experiment | accuracy | capacity | radius | dimension | correlation of centres |
|---|---|---|---|---|---|
| untrained | | .051 [.042, .059] | 1.45 [1.16, 1.74] | 29.4 [26.4, 32.4] | .377 [.302, .452] |
| objects only | .584 | .068 [.065, .071] | 1.33 [1.15, 1.51] | 23.2 [22.7, 23.6] | .430 [.407, .453] |
| co-trained, V4 | .586 | .067 [.058, .077] | 1.23 [0.94, 1.51] | 23.3 [22.0, 24.6] | .436 [.425, .448] |
| shuffled control | .581 | .065 [.059, .071] | 1.16 [0.94, 1.38] | 23.7 [23.3, 24.1] | .440 [.423, .457] |

So names of objects raise capacity in the last layer, by a smaller dimension and in the first epoch, and not in the
layers before (.046 to .054). Whether V4 adds anything three seeds of three epochs do not show: no interval parts it
from the baseline or the control. The neurons themselves are learnt, with a correlation of .271 (control .000). More
images a class would lower all capacities. docs/manifolds.md has the same of published networks, whose last stage
reaches .12 and .14, and single images of "objects only" that are moved: their capacity rises with the layers, and not
in untrained networks.
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

    seeds: ClassVar[tuple[int, ...]] = (0, 1, 2)

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
