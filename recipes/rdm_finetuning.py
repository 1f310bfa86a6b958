"""Does a network that names objects name them better after it was finetuned on nothing but the geometry of V4?

A student learns to name objects and is then finetuned on an RDM alone: of 50 macaque V4 neurons, with the default loss
and with the squared difference of raw RDMs, of two controls, and of other networks' last features. Training of each
kind has one length and is kept to its end. Whether objects are told apart better is asked of 256 pictures that no run
has learnt from, by linear support vector machines with nested cross-validation on layer 4, before and after, seed by
seed.

Data in the folder `COTRAIN_DATA`: `hvm640_v4/hvm640_v4_210325.npz` (as in `hvm_v4`), and weights of a ResNet-20 trained
on CIFAR-10 (`cifar_resnets/resnet20-12fca82f.th`). More teachers, with weights of ImageNet: a subclass with
`teachers = zoo_teachers()`.

Command: cotrain enqueue rdm_finetuning; cotrain work; cotrain evaluate --suite linear_svm_scores --recipe
rdm_finetuning --config readout.yaml; cotrain deltas rdm_finetuning --control "V4 shuffled, control". In readout.yaml
stand the student's pictures, since a run that learns an RDM alone has no labels:

```yaml
layers: [layer4]
of_class: null
labelled:
  kind: cotrain.data.arrays
  path: hvm640_v4/hvm640_v4_210325.npz
  size: 40
  tasks:
    - {kind: cotrain.data.LabelArrayConfig, task: objects}
    - {kind: cotrain.data.ResponseArrayConfig, task: v4, session: "210325", responses: v4_avg_210325}
  split: {kind: cotrain.data.SplitConfig, validation: 0.1, test: 0.4}
```

Time: 20 seconds of one core for a student, 12 for a finetuning, 10 to 20 for a readout; 9 minutes for all 35 runs, as
many for their readouts.
Expected, test split, means over seeds 0 to 4; accuracy of the readout in percent (chance 12.5), its difference from the
student's 28.52 with the interval over seeds, and the likeness (Spearman) of the held-out RDM to that of the teacher, of
controls to that of V4:

| finetuned on | RDM | readout | difference, 95 % interval |
|---|---|---|---|
| V4, 1 - Pearson | .387 | 24.84 | -3.67 [-6.47, -0.87] |
| V4, raw MSE | .341 | 25.31 | -3.20 [-7.67, +1.26] |
| V4 shuffled, control | .140 | 24.69 | -3.83 [-6.16, -1.49] |
| V4 surrogate, control | .137 | 25.39 | -3.12 [-7.34, +1.09] |
| ResNet-20 | .298 | 25.23 | -3.28 [-9.07, +2.50] |
| untrained SqueezeNet | .729 | 23.83 | -4.69 [-10.09, +0.71] |

So no: geometries are learnt, but objects are read out no better after any of them, and after V4 worse (intervals are
not corrected for six rows). Shuffled V4 costs as much (V4 less shuffled: +0.16 [-2.51, +2.83]): what is lost seems to
be lost by any training on without labels. That the neurons add nothing at all is not shown: five seeds tell apart
changes of about three points. By its own classifier the student names 29.0 % of the objects.
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
