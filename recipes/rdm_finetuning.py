"""Does a network that names objects name them better after it was finetuned on nothing but the geometry of V4?

A student learns to name objects and is then finetuned on an RDM alone: of 50 macaque V4 neurons, with the default loss
and with the squared difference of raw RDMs, of two controls, and of other networks' last features. Training of each
kind has one length and is kept to its end. Whether objects are named better is asked of 256 pictures that no run has
learnt from, by linear support vector machines with nested cross-validation, before and after, seed by seed:
`cotrain.evaluations.object_readout(run, RECORDED, "layer4")` of each run, then `finetuning_deltas` and `deltas_as_text`
of `cotrain.analysis`, which refuses a difference of one seed.

Data in the folder `COTRAIN_DATA`: `hvm640_v4/hvm640_v4_210325.npz` (as in `hvm_v4`), and weights of a ResNet-20 trained
on CIFAR-10 (`cifar_resnets/resnet20-12fca82f.th`). More teachers, with weights of ImageNet: a subclass with
`teachers = zoo_teachers()`.

Command: cotrain enqueue rdm_finetuning; cotrain work; cotrain report rdm_finetuning
Time: 20 seconds of one core for a student, 12 for a finetuning; 9 minutes for all 35 runs; 20 for a readout.
Expected, test split, seeds 0 and 1 (the other three seeds, and so the table of differences, were not computed yet):

| finetuned on | held-out RDM of its teacher (for controls: of V4), Spearman |
|---|---|
| V4, 1 - Pearson | .375, .433 |
| V4, raw MSE | .329, .381 |
| V4 shuffled, control | .151, .154 |
| V4 surrogate, control | .138, .166 |
| ResNet-20 | .303, .294 |
| untrained SqueezeNet | .761, .698 |

The student names .273 and .293 of the objects with its own classifier (chance .125); for seed 0 the support vector
machines read out .309 before finetuning. What finetuning changes of that is not known: nothing is claimed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from cotrain import Config, Experiment, Recipe
from cotrain.data import (
    ArraysConfig,
    GaussianSurrogateConfig,
    JitterConfig,
    LabelArrayConfig,
    MixingConfig,
    RdmOfResponsesConfig,
    ResponseArrayConfig,
    SelectTasksConfig,
    ShuffledConfig,
    SplitConfig,
)
from cotrain.losses import CrossEntropyConfig, RdmMatchConfig
from cotrain.models import (
    CifarResNetConfig,
    LinearHeadConfig,
    PenultimateConfig,
    RdmHeadConfig,
    SharedBackboneConfig,
    SmallCnnConfig,
    penultimate_sizes,
)
from cotrain.tasks import TaskConfig
from cotrain.training import (
    AdamWConfig,
    ConstantConfig,
    MonitorConfig,
    NetworkRdmConfig,
    StartFromConfig,
    TrainerConfig,
    run_of,
)

TAP = "layer4"
OBJECTS = TaskConfig(name="objects", tap=TAP, head=LinearHeadConfig(), objective=CrossEntropyConfig())
BACKBONE = SmallCnnConfig(layers=((24, 5, 2), (32, 3, 2), (64, 3, 1), (96, 3, 2)))
# many pictures for testing: a readout is trained and judged on them alone, before and after
RECORDED = ArraysConfig(
    path="hvm640_v4/hvm640_v4_210325.npz",
    size=40,
    tasks=(
        LabelArrayConfig(task="objects"),
        ResponseArrayConfig(task="v4", session="210325", responses="v4_avg_210325"),
    ),
    split=SplitConfig(validation=0.1, test=0.4),
)
PEARSON = RdmMatchConfig()  # 1 - Pearson
SEED_PRESET = RdmMatchConfig(comparison="mse")  # of raw correlation distances, as neural finetuning had it
FINETUNING = TrainerConfig(
    epochs=20,
    optimiser=AdamWConfig(lr=5e-4, weight_decay=0.0),
    schedule=ConstantConfig(),
    monitor=MonitorConfig(rule="last"),
    mixing=MixingConfig(main="geometry", batch_size=160),
)

TEACHERS: tuple[tuple[str, Config, int], ...] = (
    ("ResNet-20", CifarResNetConfig(weights="cifar_resnets/resnet20-12fca82f.th"), 32),
    ("untrained SqueezeNet", PenultimateConfig(name="squeezenet1_1"), 64),
)
"""(label, network, size of its images): networks whose geometry is learnt besides that of V4."""


def zoo_teachers(weights: str = "IMAGENET1K_V1") -> tuple[tuple[str, Config, int], ...]:
    """The 20 networks of the published table as teachers, with weights that torchvision has or downloads."""
    return tuple((name, PenultimateConfig(name=name, weights=weights), 224) for name in penultimate_sizes())


def recorded_geometry(recording: Config) -> RdmOfResponsesConfig:
    """Data with the RDM of the V4 responses as the task "geometry"."""
    return RdmOfResponsesConfig(data=recording, task="v4", name="geometry")


def network_geometry(network: Config, *, size: int = 0) -> NetworkRdmConfig:
    """Data with the RDM of a network's last features as the task "geometry"."""
    return NetworkRdmConfig(data=RECORDED, shown="objects", network=network, size=size, task="geometry")


class RdmFinetuning(Recipe):
    """Does a network that names objects name them better after it was finetuned on nothing but the geometry of V4?"""

    seeds: ClassVar[tuple[int, ...]] = (0, 1, 2, 3, 4)
    teachers: ClassVar[tuple[tuple[str, Config, int], ...]] = TEACHERS

    def experiments(self) -> Iterator[Experiment]:
        """The student, and what becomes of it with each teacher, loss and control."""
        student = Experiment(
            "student, objects only",
            data=SelectTasksConfig(data=RECORDED, tasks=("objects",)),
            model=SharedBackboneConfig(backbone=BACKBONE, tasks=(OBJECTS,)),
            trainer=TrainerConfig(
                epochs=40,
                optimiser=AdamWConfig(lr=3e-3),
                augmentation=(("objects", JitterConfig(pixels=5, mirror=True)),),
                monitor=MonitorConfig(rule="last"),
                mixing=MixingConfig(main="objects"),
            ),
        )
        yield student
        v4 = recorded_geometry(RECORDED)
        surrogate = recorded_geometry(GaussianSurrogateConfig(data=RECORDED, tasks=("v4",)))
        yield finetuned(student, "V4", v4)
        yield finetuned(student, "V4, raw MSE", v4, objective=SEED_PRESET)
        yield finetuned(student, "V4 shuffled, control", ShuffledConfig(data=v4, tasks=("geometry",)))
        yield finetuned(student, "V4 surrogate, control", surrogate)
        for name, network, size in self.teachers:
            yield finetuned(student, name, network_geometry(network, size=size))


def finetuned(student: Experiment, label: str, data: Config, *, objective: Config = PEARSON) -> Experiment:
    """An experiment that starts from the student's backbone and learns the task "geometry" of some data alone."""
    task = TaskConfig(name="geometry", tap=TAP, head=RdmHeadConfig(), objective=objective)
    model = SharedBackboneConfig(backbone=BACKBONE, tasks=(task,))
    return Experiment(
        label,
        data=SelectTasksConfig(data=data, tasks=("geometry",)),
        model=StartFromConfig(model=model, run=run_of(student)),
        trainer=FINETUNING,
    )
