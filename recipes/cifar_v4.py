"""What does a network that learns to name small pictures gain or lose by learning macaque V4 and the geometry of IT?

Data in the folder `COTRAIN_DATA`: `cifar10/cifar10_jpeg_20k.npz` (20,000 training and 4,000 test pictures of CIFAR-10,
decoded from a JPEG copy: not comparable with published accuracies); five macaque V4 sessions of Cowley, Stan, Pillow &
Smith 2023 (`cowley_v4/`, bioRxiv 2023.11.22.568315); 92 object pictures with the RDM of 674 macaque IT neurons of
Kriegeskorte et al. 2008 (`images92/images92.npz`).

Command: cotrain enqueue cifar_v4; cotrain work; cotrain report cifar_v4 --out cifar_v4.png
Time: 16 minutes of one core for all four runs.
Expected, test split, seed 0:

| experiment | CIFAR-10 (JPEG copy), accuracy | V4, median r of 171 neurons | IT RDM, Spearman (28 pictures) |
|---|---|---|---|
| co-trained | .676 | .379 | .320 |
| each alone | .690 | .385 | - |
| shuffled control | .684 | .026 | .202 |

So learning all at once costs a point of accuracy and almost nothing of V4 at this budget. The RDM of the control is not
at zero: features of pictures share some geometry with IT before it is learnt (.21 in validation, epoch 0).
"""

from __future__ import annotations

from collections.abc import Iterator

from cotrain import Experiment, Recipe
from cotrain.data import (
    ArraysConfig,
    JitterConfig,
    LabelArrayConfig,
    MixingConfig,
    MultiTaskConfig,
    RdmArrayConfig,
    RecordedConfig,
    SelectTasksConfig,
    ShuffledConfig,
    SplitConfig,
)
from cotrain.losses import CrossEntropyConfig, GaussianConfig, RdmMatchConfig
from cotrain.models import GaussianReadoutConfig, LinearHeadConfig, RdmHeadConfig, SharedBackboneConfig, SmallCnnConfig
from cotrain.tasks import TaskConfig
from cotrain.training import AdamWConfig, TrainerConfig

CIFAR = ArraysConfig(
    path="cifar10/cifar10_jpeg_20k.npz",
    images="train_images",
    test_images="test_images",
    tasks=(LabelArrayConfig(task="cifar", labels="train_labels", test_labels="test_labels"),),
    split=SplitConfig(validation=0.1, test=0.0),
)
# not 210305, most of whose pictures are near copies of each other
V4 = RecordedConfig(
    path="cowley_v4", sessions=("190923", "190927", "190928", "190929", "210325"), format="cowley2023", size=48
)
IT = ArraysConfig(
    path="images92/images92.npz",
    size=48,
    tasks=(RdmArrayConfig(task="it_rdm", rdm="rdm_mIT"),),
    split=SplitConfig(validation=0.2, test=0.3),
)
DATA = MultiTaskConfig(parts=(CIFAR, V4, IT))

NAMES = TaskConfig(name="cifar", tap="layer4", head=LinearHeadConfig(), objective=CrossEntropyConfig())
NEURONS = TaskConfig(name="v4", tap="layer3", head=GaussianReadoutConfig(), objective=GaussianConfig())
RDM = TaskConfig(name="it_rdm", tap="layer4", head=RdmHeadConfig(), objective=RdmMatchConfig())
BACKBONE = SmallCnnConfig(layers=((32, 5, 2), (48, 3, 1), (96, 3, 2), (128, 3, 2)), input_channels=3)
JITTER = (("cifar", JitterConfig(pixels=3, mirror=True)), ("v4", JitterConfig(pixels=2)))


class CifarV4(Recipe):
    """What does a network that learns to name small pictures gain or lose by learning V4 and the geometry of IT?"""

    def experiments(self) -> Iterator[Experiment]:
        """The co-trained network, a network for pictures and one for V4 alone, and the shuffled control."""
        together = Experiment(
            "co-trained",
            data=DATA,
            model=SharedBackboneConfig(backbone=BACKBONE, tasks=(NAMES, NEURONS, RDM)),
            trainer=TrainerConfig(
                epochs=8,
                optimiser=AdamWConfig(lr=4e-3),
                augmentation=JITTER,
                mixing=MixingConfig(main="cifar", ratios=((1, (("v4", 0.5), ("it_rdm", 0.1))),)),
            ),
        )
        yield together
        # as many batches of the task as the co-trained network sees of it: 8 epochs of 281 batches, half as many of V4
        for label, task, epochs in (("CIFAR only", NAMES, 8), ("V4 only", NEURONS, 19)):
            yield together.vary(
                label,
                data=SelectTasksConfig(data=DATA, tasks=(task.name,)),
                model={"tasks": (task,)},
                trainer={
                    "epochs": epochs,
                    "augmentation": tuple(entry for entry in JITTER if entry[0] == task.name),
                    "mixing": {"main": task.name, "ratios": ()},
                },
            )
        yield together.vary("shuffled control", data=ShuffledConfig(data=DATA, tasks=("v4", "it_rdm")))
