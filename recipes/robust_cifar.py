"""Does a network that learns V1 or V4 beside object names name pictures with corruptions that it never saw?

After Safarani et al. 2021 (NeurIPS; arXiv 2107.14344), in small: their conditions and controls, with a network of four
layers on grey CIFAR-10. `vgg_v1` is the same at full size, for a GPU and recorded V1. Each network gets the same 1,405
batches of 64 pictures, and, where it is co-trained, a batch of 32 for the neural task beside each of them. The neural
task is read early, and the tasks' likelihoods learn their weights, which here count a V1-like response five times as
much as an object. Scores on corrupted pictures chose nothing: learning rate and epochs were chosen by the validation
accuracy of "objects only", and each run's epoch by its own.

- "objects only": the baseline. "trained on noise" is the same with Gaussian noise on half of the training pictures:
  what explicit training brings, and the teacher of the oracle.
- "co-trained, V1-like": 150 *simulated* neurons (Gabor energy with divisive normalisation), a population of its own for
  each seed, respond to the same pictures, without noise, as the predictions of the paper's V1 model do.
- "shuffled control": the same responses, to other pictures. What it brings is no knowledge of V1.
- "co-trained, V4": five macaque V4 sessions, recorded with other pictures, which are shown in grey.
- "oracle": 150 units of the second layer of "trained on noise" as neurons. No noisy picture is ever shown to it.

Data in the folder `COTRAIN_DATA`: `cifar10/cifar10_jpeg_20k.npz` and `cowley_v4/`, see `cifar_v4`. All is grey, since
V1-like neurons are, and since the paper's pictures are.

Command: cotrain enqueue robust_cifar; cotrain work; cotrain evaluate corruptions --recipe robust_cifar
Time: 92 seconds of one core for a run of objects only, 135 for one that is co-trained.
Expected, test split:

TABLE
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from cotrain import Experiment, Recipe
from cotrain.data import (
    ArraysConfig,
    AugmentConfig,
    LabelArrayConfig,
    MixingConfig,
    MultiTaskConfig,
    RecordedConfig,
    ShuffledConfig,
    SimulatedV1ResponsesConfig,
    SplitConfig,
)
from cotrain.losses import CrossEntropyConfig, GaussianConfig
from cotrain.models import GaussianReadoutConfig, LinearHeadConfig, SharedBackboneConfig, SmallCnnConfig
from cotrain.tasks import TaskConfig
from cotrain.training import AdamWConfig, MonitorConfig, TeacherResponsesConfig, TrainerConfig, run_of

PICTURES = ArraysConfig(
    path="cifar10/cifar10_jpeg_20k.npz",
    images="train_images",
    test_images="test_images",
    tasks=(LabelArrayConfig(task="objects", labels="train_labels", test_labels="test_labels"),),
    grey=True,
    split=SplitConfig(validation=0.1, test=0.0),
)
NEURONS = 150
V1_LIKE = SimulatedV1ResponsesConfig(data=PICTURES, shown="objects", task="v1", neurons=NEURONS)
# not 210305, most of whose pictures are near copies of each other
V4 = RecordedConfig(
    path="cowley_v4",
    sessions=("190923", "190927", "190928", "190929", "210325"),
    format="cowley2023",
    size=48,
    grey=True,
)
# (standard deviation, share of the pictures): the mixture of the paper's noise-trained network
NOISE = ((0.08, 0.1), (0.12, 0.1), (0.18, 0.1), (0.26, 0.1), (0.38, 0.1))

BACKBONE = SmallCnnConfig(layers=((24, 5, 2), (32, 3, 1), (64, 3, 2), (96, 3, 2)))
EARLY = "layer2"
OBJECTS = TaskConfig(name="objects", tap="layer4", head=LinearHeadConfig(), objective=CrossEntropyConfig())
RESPONSES = TaskConfig(name="v1", tap=EARLY, head=GaussianReadoutConfig(), objective=GaussianConfig())
AUGMENTATION = AugmentConfig(shift=3, mirror=True)


class RobustCifar(Recipe):
    """Does a network that learns V1 or V4 beside object names name pictures with corruptions it never saw?"""

    seeds: ClassVar[tuple[int, ...]] = (0, 1, 2, 3, 4)

    def experiments(self) -> Iterator[Experiment]:
        """Objects only, co-trained with V1-like or V4 responses, the shuffled control, trained on noise, the oracle."""
        baseline = Experiment(
            "objects only",
            data=PICTURES,
            model=SharedBackboneConfig(backbone=BACKBONE, tasks=(OBJECTS,)),
            trainer=TrainerConfig(
                epochs=5,
                optimiser=AdamWConfig(lr=1e-2),
                augmentation=(("objects", AUGMENTATION),),
                mixing=MixingConfig(main="objects"),
                monitor=MonitorConfig(tasks=(("objects", 1.0),)),
                channels_last=True,
            ),
        )
        yield baseline
        v1_like = baseline.vary(
            "co-trained, V1-like",
            data=V1_LIKE,
            model={"tasks": (OBJECTS, RESPONSES)},
            trainer={"mixing": {"ratios": ((1, (("v1", 1.0),)),), "batch_sizes": (("v1", 32),)}},
        )
        yield v1_like
        yield v1_like.vary("shuffled control", data=ShuffledConfig(data=V1_LIKE, tasks=("v1",)))
        yield baseline.vary(
            "co-trained, V4",
            data=MultiTaskConfig(parts=(PICTURES, V4)),
            model={"tasks": (OBJECTS, RESPONSES.replace(name="v4", tap="layer3"))},
            trainer={
                "mixing": {"ratios": ((1, (("v4", 1.0),)),), "batch_sizes": (("v4", 32),)},
                "augmentation": (("objects", AUGMENTATION), ("v4", AugmentConfig(shift=2))),
            },
        )
        noisy = baseline.vary(
            "trained on noise", trainer={"augmentation": (("objects", AUGMENTATION.replace(noise=NOISE)),)}
        )
        yield noisy
        units = TeacherResponsesConfig(
            data=PICTURES, shown="objects", run=run_of(noisy), layer=EARLY, task="units", neurons=NEURONS
        )
        yield v1_like.vary(
            "oracle",
            data=units,
            model={"tasks": (OBJECTS, RESPONSES.replace(name="units"))},
            trainer={"mixing": {"ratios": ((1, (("units", 1.0),)),), "batch_sizes": (("units", 32),)}},
        )
