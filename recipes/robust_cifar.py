"""Does a network that learns V1 or V4 beside object names name pictures with corruptions that it never saw?

After Safarani et al. 2021 (NeurIPS; arXiv 2107.14344), in small: their conditions and controls, with a network of four
layers on grey CIFAR-10. `vgg_v1` asks it at full size, on a GPU and with recorded V1. Every network learns from 1,405
batches of 64 pictures; where it is co-trained, a batch of 32 for the neural task goes with each of them. That task is
read early, and the likelihoods learn their weights (in the end 1.9 for V1-like responses, 0.6 for V4, 0.4 for objects).

- "objects only": the baseline. "trained on noise": the same with Gaussian noise on half of its pictures, which is the
  paper's mixture. It shows what training for noise brings, and teaches the oracle.
- "co-trained, V1-like": 150 *simulated* neurons (Gabor energy with divisive normalisation), others for each seed, that
  answer to the same pictures, without noise, as predictions of a V1 model do. No animal was recorded.
- "shuffled control": the same responses, to other pictures.
- "co-trained, V4": five macaque V4 sessions, recorded with other pictures, which are shown in grey.
- "oracle": 150 units of the second layer of "trained on noise" as neurons. It never sees a noisy picture itself.

Learning rate and epochs were chosen by the validation accuracy of "objects only"; corrupted pictures chose nothing.

Data in the folder `COTRAIN_DATA`: `cifar10/cifar10_jpeg_20k.npz` and `cowley_v4/`, as in `cifar_v4`, all of it in grey,
which simulated V1 sees, and the paper's networks do.

Command: cotrain enqueue robust_cifar; cotrain work; cotrain report robust_cifar --baseline "objects only"
Then: cotrain evaluate --suite corruptions --recipe robust_cifar --config cifar_c.yaml --baseline "objects only", with
the lines `preset: cifar_c` and `images: 1000` in cifar_c.yaml; and cotrain plot corruptions --recipe robust_cifar
--task objects --baseline "objects only" --out robust_cifar.png
Time: 95 seconds of one core for a run of objects only, 135 for a co-trained one, an hour for all thirty; 55 seconds a
run for the corruptions.
Expected, test split, seeds 0 to 3 (oracle: 0 to 2), mean and Student's 95 % interval over seeds. "corrupted" is the
accuracy for 15 corruptions at five severities of cifar_c, of the first 1,000 test pictures, as is "clean"; the
difference is that of corrupted ones to "objects only", seed by seed:

| experiment | clean | corrupted | difference | neural task, median r |
|---|---|---|---|---|
| objects only | .596 [.586, .606] | .455 [.446, .464] | | |
| co-trained, V1-like | .593 [.583, .604] | .472 [.465, .480] | +.017 [+.010, +.025] | .877 |
| shuffled control | .597 [.579, .615] | .460 [.458, .461] | +.005 [-.005, +.015] | .004 |
| co-trained, V4 | .605 [.595, .616] | .458 [.450, .467] | +.003 [-.011, +.018] | .366 |
| oracle | .583 [.564, .602] | .462 [.454, .470] | +.009 [+.005, +.013] | .929 |
| trained on noise | .516 [.503, .529] | .450 [.440, .460] | -.005 [-.011, +.001] | |

So V1-like responses make this network a little more robust, at no cost of clean accuracy, and shuffled ones do not: by
.044 [.014, .074] for Gaussian noise, .039 [.013, .066] for shot noise, .026 [.019, .032] for glass blur. The oracle
gains half of that; five V4 sessions of other pictures gain nothing that four seeds would show. Training on noise helps
against noise (.153 [.123, .183]) and costs as much elsewhere. The simulated neurons are no animal's, networks of five
epochs still improve when they stop, and the intervals are over seeds of one small network, not corrected for the number
of comparisons.
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
