"""Does a network that was trained on the geometry of macaque IT share it for pictures that it never saw?

A ResNet-20 that names CIFAR-10 learns the RDM of 674 macaque IT neurons for 92 object pictures (Kriegeskorte et al.
2008, Neuron 60:1126), at 32 x 32 pixels, by 1 - Pearson of its last features' correlation distances. Pictures are in
four folds, others for each seed: each picture is held out once a seed, about 55 train and 14 validate, and the score is
the RDM among the 22 to 24 pictures of the fold that is held out. Pairs across folds are never scored.

- "macaque IT": trained on it. "human IT": trained on the RDM of human IT (fMRI, mean of four subjects) for the same
  pictures. Each is scored on both species, of which it learns one.
- "names only": the same network before training; "untrained": random weights, with the statistics of its batch norms
  taken from the training pictures.
- "shuffled control": trained on the macaque RDM of permuted pictures.

Learning rate, length, pooling and layer were chosen once, by mean validation scores of another seed; its validation
pictures are test pictures of other folds, so that scores may be a little high. Test scores chose nothing.

Data in the folder `COTRAIN_DATA`: `images92/images92.npz`, and weights of a ResNet-20 trained on CIFAR-10
(`cifar_resnets/resnet20-12fca82f.th`).

Command: cotrain enqueue it_geometry; cotrain work; cotrain report it_geometry
Time: 4 seconds of one core for a run that is trained, 5 minutes for all sixty.
Expected, test split, Spearman over pairs, mean of four folds, then mean and Student's 95 % interval over seeds 0, 1, 2:

| experiment | macaque IT | human IT |
|---|---|---|
| macaque IT | .435 [.381, .489] | .324 [.233, .415] |
| human IT | .334 [.234, .435] | .333 [.245, .421] |
| names only | .266 [.186, .347] | .270 [.181, .359] |
| shuffled control | .215 [.170, .260] | .192 [.071, .313] |
| untrained | .151 [.094, .208] | .087 [-.081, .255] |
| pixels, correlation distance | .131 [.125, .138] | .109 [.084, .134] |
| the other species' IT | .423 [.339, .508] | .423 [.339, .508] |

So the geometry of macaque IT is learnt for pictures that were not shown: the trained network is above the one that
names only by .169 [.064, .274] and above its control by .220 [.197, .243], seed by seed. With human IT it gains .054
[-.062, .171], which three seeds do not show. There is one macaque RDM, and so no ceiling for it; human IT is as like it
as the trained network is, which is a reference and no bound. To single human subjects the network that learnt human IT
is .228 [.161, .295] like, the one that learnt macaque IT .221 [.150, .293], macaque IT itself .287 [.239, .334]; the
ceiling over the four subjects is .368 to .663 in the same folds (`docs/rsa.md` says how to ask). Intervals are over
three partitions and orders of these 92 pictures, not over pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from cotrain import Experiment, Recipe
from cotrain.data import (
    ArraysConfig,
    LabelArrayConfig,
    MixingConfig,
    RdmArrayConfig,
    SelectTasksConfig,
    ShuffledConfig,
    SplitConfig,
)
from cotrain.losses import RdmMatchConfig
from cotrain.models import CifarResNetConfig, RdmHeadConfig, SharedBackboneConfig
from cotrain.tasks import TaskConfig
from cotrain.training import (
    AdamWConfig,
    ConstantConfig,
    MonitorConfig,
    TrainerConfig,
)
from cotrain.training.hooks import FreezeConfig

FOLDS = 4
MACAQUE, HUMAN = (
    TaskConfig(name=name, tap="layer3", head=RdmHeadConfig(pool="average"), objective=RdmMatchConfig())
    for name in ("macaque_it", "human_it")
)
FROZEN = FreezeConfig(parameters=("backbone",))
# as loaded: 55 pictures are too few for statistics of a batch
PRETRAINED = SharedBackboneConfig(
    backbone=CifarResNetConfig(weights="cifar_resnets/resnet20-12fca82f.th"),
    tasks=(MACAQUE, HUMAN),
    batch_norm="frozen",
)
RANDOM = SharedBackboneConfig(backbone=CifarResNetConfig(), tasks=(MACAQUE, HUMAN), batch_norm="shared")


def geometries(fold: int) -> SelectTasksConfig:
    """The 92 pictures with the RDMs of both species; their categories only spread them evenly over the folds."""
    pictures = ArraysConfig(
        path="images92/images92.npz",
        size=32,
        tasks=(
            LabelArrayConfig(task="category", labels="category", class_names="category_names"),
            RdmArrayConfig(task="macaque_it", rdm="rdm_mIT"),
            RdmArrayConfig(task="human_it", rdm="rdm_hIT"),
        ),
        split=SplitConfig(folds=FOLDS, fold=fold),
    )
    return SelectTasksConfig(data=pictures, tasks=("macaque_it", "human_it"))


def trained_on(task: str, other: str) -> TrainerConfig:
    """All training pictures of an RDM task in each step; the other task, of ratio 0, is scored and never learnt."""
    return TrainerConfig(
        epochs=12,
        optimiser=AdamWConfig(lr=1e-3, weight_decay=0.0),
        schedule=ConstantConfig(),
        monitor=MonitorConfig(rule="last"),
        mixing=MixingConfig(main=task, ratios=((1, ((other, 0.0),)),), batch_size=92),
    )


class ItGeometry(Recipe):
    """Does a network that was trained on the geometry of macaque IT share it for pictures that it never saw?"""

    seeds: ClassVar[tuple[int, ...]] = (0, 1, 2)

    def experiments(self) -> Iterator[Experiment]:
        """In each fold: the networks before training, trained on either species, and controls."""
        for fold in range(FOLDS):
            yield from of_fold(fold)


def of_fold(fold: int) -> Iterator[Experiment]:
    """The experiments in which the pictures of one fold are held out."""
    data = geometries(fold)
    macaque = trained_on("macaque_it", "human_it")
    trained = Experiment(f"macaque IT, fold {fold}", data=data, model=PRETRAINED, trainer=macaque)
    yield trained
    yield trained.vary(f"shuffled control, fold {fold}", data=ShuffledConfig(data=data, tasks=("macaque_it",)))
    yield trained.vary(f"human IT, fold {fold}", trainer=trained_on("human_it", "macaque_it"))
    yield trained.vary(f"names only, fold {fold}", trainer=macaque.replace(epochs=1, hooks=(FROZEN,)))
    # so many passes for the statistics of batch norm, which follow the training pictures
    yield trained.vary(f"untrained, fold {fold}", model=RANDOM, trainer=macaque.replace(epochs=30, hooks=(FROZEN,)))
