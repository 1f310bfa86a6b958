"""What decides how well a network predicts neurons: its depth, its width, its accuracy, or that it was trained?

After Deep Mouse Trap (Conwell, Mayo, Barbu, Buice, Alvarez & Katz 2021, NeurIPS), which asks this of 84 networks for
ImageNet and mouse visual cortex. Here, networks small enough for a CPU are trained on CIFAR-10 (a JPEG copy), one
differing from `4 layers` in depth or in width at a time, one with shuffled labels. What they predict, layer by layer
and area by area, trained and untrained, is asked of the finished runs: `docs/nx414.md`.

Data in the folder `COTRAIN_DATA`: `cifar10/cifar10_jpeg_20k.npz` (20,000 training and 4,000 test pictures of CIFAR-10,
decoded from a JPEG copy: not comparable with published accuracies).

Command: cotrain enqueue deep_mouse_trap; cotrain work; python benchmarks/deep_mouse_trap.py --out networks.png
Time: 25 to 90 s a run on one core, about 5 minutes for all 6; the table 83 s.
Expected, one seed: accuracy on the 4,000 test pictures, and median r over 50 macaque V4 neurons (Cowley, Stan, Pillow &
Smith 2023, `cowley_v4`, session 210325) of the layer that was chosen on the other half of its 640 pictures:

| experiment | accuracy | r, with its interval over neurons | r before training |
|---|---|---|---|
| 2 layers | .462 | .425 [.400, .453] | .281 |
| 4 layers | .606 | .457 [.418, .478] | .285 |
| 6 layers | .630 | .439 [.387, .474] | .276 |
| 4 layers, 8 channels | .416 | .385 [.334, .420] | .279 |
| 4 layers, 64 channels | .640 | .439 [.406, .464] | .281 |
| 4 layers, shuffled labels | .081 | .302 [.239, .323] | .285 |

So what decides is what a network was trained on: the one that learnt shuffled labels predicts as untrained ones do, and
r goes with accuracy among all. Width of 8 channels costs more than depth of 2 layers. One seed: .02 is no difference.
"""

from __future__ import annotations

from collections.abc import Iterator

from cotrain import Experiment, Recipe
from cotrain.data import ArraysConfig, JitterConfig, LabelArrayConfig, MixingConfig, ShuffledConfig, SplitConfig
from cotrain.losses import CrossEntropyConfig
from cotrain.models import LinearHeadConfig, SharedBackboneConfig, SmallCnnConfig
from cotrain.tasks import TaskConfig
from cotrain.training import AdamWConfig, TrainerConfig

CIFAR = ArraysConfig(
    path="cifar10/cifar10_jpeg_20k.npz",
    images="train_images",
    test_images="test_images",
    tasks=(LabelArrayConfig(task="cifar", labels="train_labels", test_labels="test_labels"),),
    split=SplitConfig(validation=0.1, test=0.0),
)


def network(layers: int, channels: int) -> SharedBackboneConfig:
    """Layers of as many channels each; maps are halved by the first, and once more in the middle."""
    strides = [2 if number in (0, layers // 2) else 1 for number in range(layers)]
    backbone = SmallCnnConfig(layers=tuple((channels, 3, stride) for stride in strides), input_channels=3)
    names = TaskConfig(name="cifar", tap=f"layer{layers}", head=LinearHeadConfig(), objective=CrossEntropyConfig())
    return SharedBackboneConfig(backbone=backbone, tasks=(names,))


class DeepMouseTrap(Recipe):
    """What decides how well a network predicts neurons: depth, width, accuracy, or that it was trained?"""

    def experiments(self) -> Iterator[Experiment]:
        """A network of 4 layers of 32 channels; deeper, shallower, wider and narrower ones; shuffled labels."""
        middle = Experiment(
            "4 layers",
            data=CIFAR,
            model=network(4, 32),
            trainer=TrainerConfig(
                epochs=4,
                optimiser=AdamWConfig(lr=4e-3),
                augmentation=(("cifar", JitterConfig(pixels=3, mirror=True)),),
                mixing=MixingConfig(main="cifar"),
            ),
        )
        yield middle
        for layers in (2, 6):
            yield middle.vary(f"{layers} layers", model=network(layers, 32))
        for channels in (8, 64):
            yield middle.vary(f"4 layers, {channels} channels", model=network(4, channels))
        yield middle.vary("4 layers, shuffled labels", data=ShuffledConfig(data=CIFAR, tasks=("cifar",)))
