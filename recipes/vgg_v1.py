"""Does a network that learns macaque V1 beside object names come to see objects otherwise?

After Safarani et al. 2021 (NeurIPS; arXiv 2107.14344): VGG-19 with batch norm, from scratch, on grey Tiny ImageNet;
V1 is read after conv3_1, batch norm and ReLU (`features.16`, 256 channels, 16 x 16 at 64 pixels). The classifier is
convolutional, on the last features. Their question is robustness to distortions never trained on: compare the
co-trained networks with the baseline and with the shuffled control on distorted test pictures, one analysis more.

Data in the folder `COTRAIN_DATA`, fetched by `cotrain data fetch tiny_imagenet` and so on: `tiny_imagenet`,
`cadena2024_v1` and `cadena2024_v4` (Cadena et al. 2024, PLOS Computational Biology 20(5): e1012056).

Optimisation is the paper's: when validation has not grown for 5 epochs, training goes back to the best weights with a
lower learning rate (factor 0.4, co-trained 0.3, V1 alone 0.5), five times; SGD for objects, Adam with weight decay in
the gradient for V1 alone; at most 400 epochs (150 for V1 alone). Co-trained networks are followed by objects alone.

The paper's four are "objects only", "co-trained, predicted", which learns what a V1 model predicts for the pictures of
Tiny ImageNet, "shuffled control, predicted", which learns these predictions for other pictures, and "oracle", whose V1
is a network that was trained on noise: 458 units of its `features.16`. The first of them alone needs nothing else. The
next two need the run of "V1 only", the oracle that of "trained on noise", each with its own seed, which is trained
before them, by `cotrain run` as by workers, for as many seeds as there are.

Where this is not the paper, for want of the paper's data:

- "co-trained" learns the recorded counts themselves, and "shuffled control" permutes these.
- Units of the oracle are z-scored, since activities of a network have no unit.
- Recordings are scaled to 64 x 64 pixels after the crop of their authors, so that one tap serves both data sets. The
  model with V4, read after conv4_1, is not in the paper.

Command: cotrain enqueue vgg_v1; cotrain work; cotrain report vgg_v1 --out vgg_v1.png
Time: not measured as a whole. One batch of 128 pictures, forward and backward, takes 23.4 s of one CPU core for objects
and 8.7 s for V1, and an epoch has some 700 batches of objects: this is a recipe for a GPU.
Expected: no scores are stated, since neither data set was at hand. Chance is 0.005 (200 classes); the median
correlation of V1 in the shuffled control should be near 0.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from cotrain import Experiment, Recipe
from cotrain.data import (
    AugmentConfig,
    MixingConfig,
    MultiTaskConfig,
    RecordedConfig,
    ShuffledConfig,
    TinyImageNetConfig,
)
from cotrain.losses import CrossEntropyConfig, GaussianConfig, PoissonConfig
from cotrain.models import (
    ConvolutionalHeadConfig,
    GaussianReadoutConfig,
    SharedBackboneConfig,
    TorchvisionBackboneConfig,
)
from cotrain.tasks import TaskConfig
from cotrain.training import (
    AdamConfig,
    MonitorConfig,
    PlateauConfig,
    PredictedResponsesConfig,
    SgdConfig,
    TeacherResponsesConfig,
    TrainerConfig,
    run_of,
)

OBJECTS_DATA = TinyImageNetConfig(grey=True)
# counts, not z-scores: a Poisson loss needs them
V1_DATA = RecordedConfig(
    path="cadena2024_v1",
    task="v1",
    size=64,
    grey=True,
    standardise=False,
    crop=(70, 70, 70, 70),
    window_ms=(40.0, 160.0),
)
V4_DATA = V1_DATA.replace(path="cadena2024_v4", task="v4", crop=(68, 0, 126, 126), window_ms=(70.0, 160.0))

BACKBONE = TorchvisionBackboneConfig(name="vgg19_bn")
OBJECTS = TaskConfig(
    name="objects", tap="features.52", head=ConvolutionalHeadConfig(), objective=CrossEntropyConfig(weight="learned")
)
READOUT = GaussianReadoutConfig(covariance="uncorrelated", start_range=0.3, start_sigma=0.6, output="elu")
# no penalty of weights: the published code of the paper applies none in co-training
V1 = TaskConfig(name="v1", tap="features.16", head=READOUT, objective=GaussianConfig())
V4 = TaskConfig(name="v4", tap="features.29", head=READOUT, objective=GaussianConfig())
UNITS = V1.replace(name="units", head=READOUT.replace(output="identity"))

# objects as the paper shows them; receptive fields stay where they are
PICTURES = AugmentConfig(shift=4, mirror=True, rotation=15.0)
AUGMENTATION = (("objects", PICTURES),)
# (standard deviation, share of the pictures), as in their code; half of the pictures stay clean
NOISE = ((0.08, 0.1), (0.12, 0.1), (0.18, 0.1), (0.26, 0.1), (0.38, 0.1))


class VggV1(Recipe):
    """Does a network that learns macaque V1 beside object names come to see objects otherwise?"""

    seeds: ClassVar[tuple[int, ...]] = (1000, 2000, 3000, 4000, 5000)  # the paper's

    def experiments(self) -> Iterator[Experiment]:
        """Baseline, V1 alone, co-trained on recordings or predictions, each shuffled, V1 with V4, and the oracle."""
        alone = OBJECTS.replace(objective=CrossEntropyConfig(weight=1.0))
        baseline = Experiment(
            "objects only",
            data=OBJECTS_DATA,
            model=SharedBackboneConfig(backbone=BACKBONE, tasks=(alone,)),
            trainer=TrainerConfig(
                epochs=400,
                optimiser=SgdConfig(lr=0.1, momentum=0.75, weight_decay=5e-4),
                schedule=PlateauConfig(factor=0.4, patience=5, rounds=5, restore_best=True),
                augmentation=AUGMENTATION,
                mixing=MixingConfig(main="objects", batch_size=128),
                monitor=MonitorConfig(tasks=(("objects", 1.0),)),
            ),
        )
        yield baseline
        # 0.5 times summed weights on a loss summed over a session's 1,000 images is 5e-4 on their mean
        penalised = V1.replace(head=READOUT.replace(feature_l1=5e-4), objective=PoissonConfig())
        v1_only = baseline.vary(
            "V1 only",
            data=V1_DATA,
            model={"tasks": (penalised,)},
            trainer={
                "epochs": 150,
                "optimiser": AdamConfig(lr=5e-4, weight_decay=5e-4),
                "schedule": {"factor": 0.5},
                "augmentation": (),
                "mixing": {"main": "v1"},
                "monitor": MonitorConfig(),
            },
        )
        yield v1_only
        recorded = MultiTaskConfig(parts=(OBJECTS_DATA, V1_DATA))
        together = baseline.vary(
            "co-trained",
            data=recorded,
            model={"tasks": (OBJECTS, V1)},
            trainer={"schedule": {"factor": 0.3}, "mixing": {"ratios": ((1, (("v1", 1.0),)),)}},
        )
        yield together
        yield together.vary("shuffled control", data=ShuffledConfig(data=recorded, tasks=("v1",)))
        predicted = PredictedResponsesConfig(
            data=OBJECTS_DATA, shown="objects", run=run_of(v1_only), predicted="v1", task="v1"
        )
        yield together.vary("co-trained, predicted", data=predicted)
        yield together.vary("shuffled control, predicted", data=ShuffledConfig(data=predicted, tasks=("v1",)))
        yield together.vary(
            "co-trained, V1 and V4",
            data=MultiTaskConfig(parts=(OBJECTS_DATA, V1_DATA, V4_DATA)),
            model={"tasks": (OBJECTS, V1, V4)},
            trainer={"mixing": {"ratios": ((1, (("v1", 1.0), ("v4", 1.0))),)}},
        )
        noisy = baseline.vary(
            "trained on noise", trainer={"augmentation": (("objects", PICTURES.replace(noise=NOISE)),)}
        )
        yield noisy
        yield together.vary(
            "oracle",
            data=TeacherResponsesConfig(
                data=OBJECTS_DATA, shown="objects", run=run_of(noisy), layer=V1.tap, task="units", neurons=458
            ),
            model={"tasks": (OBJECTS, UNITS)},
            trainer={"mixing": {"ratios": ((1, (("units", 1.0),)),)}},
        )
