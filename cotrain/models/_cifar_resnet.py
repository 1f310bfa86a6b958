"""The residual networks that were made for CIFAR-10, so that weights which people publish for them can be loaded."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from annotated_types import Ge
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from cotrain.config import Config
from cotrain.errors import ModelError
from cotrain.models._weights import load_partial, read_weights_file

STAGES = (16, 32, 64)  # channels


class CifarResNetConfig(Config):
    """ResNet-20, -32, -44, -56 or -110 for small colour images; taps `layer1` to `layer3`, or a block of one."""

    kind: ClassVar[str] = "cotrain.models.cifar_resnet"
    blocks: Annotated[int, Ge(1)] = 3  # in each of three stages; layers are 6 of these and 2: 3 make ResNet-20
    input_channels: Literal[1, 3] = 3  # grey or colour; images of the other sort are converted
    weights: str = ""  # a file of a state dict, relative to the data folder (COTRAIN_DATA); empty: random


class CifarBlock(nn.Module):
    """Two convolutions beside a shortcut without weights, which halves maps by skipping and adds channels of zeros.

    He, Zhang, Ren & Sun 2016, CVPR, Deep residual learning for image recognition, section 4.2, option A.
    """

    def __init__(self, before: int, channels: int) -> None:
        super().__init__()
        self.added = channels - before
        self.stride = 2 if self.added else 1
        self.conv1 = nn.Conv2d(before, channels, 3, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, maps: Tensor) -> Tensor:
        """(images, channels, height, width); half as high and wide where channels are added."""
        inner = self.bn2(self.conv2(relu(self.bn1(self.conv1(maps)))))
        shortcut = maps[:, :, :: self.stride, :: self.stride]
        return relu(inner + pad(shortcut, (0, 0, 0, 0, self.added // 2, self.added - self.added // 2)))


class CifarResNet(nn.Module):
    """Maps of three stages, of 16, 32 and 64 channels; what a classifier sees is the last one's mean over space."""

    def __init__(self, blocks: int, input_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(input_channels, STAGES[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(STAGES[0])
        self.relu = nn.ReLU()
        before = STAGES[0]
        for number, channels in enumerate(STAGES, 1):
            stage = [CifarBlock(before, channels), *(CifarBlock(channels, channels) for _ in range(blocks - 1))]
            setattr(self, f"layer{number}", nn.Sequential(*stage))
            before = channels

    def forward(self, images: Tensor) -> Tensor:
        """(images, 64, height / 4, width / 4)."""
        maps: Tensor = self.relu(self.bn1(self.conv1(images)))
        for number in range(1, len(STAGES) + 1):
            maps = getattr(self, f"layer{number}")(maps)
        return maps


def cifar_resnet(config: CifarResNetConfig) -> CifarResNet:
    """The network up to its classifier. Convolutions are drawn as He et al. 2015 (ICCV) do, by fan-in.

    Raises:
        ModelError: There is no such file of weights, or it is of a network with other blocks.
    """
    network = CifarResNet(config.blocks, config.input_channels)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    if config.weights:
        report = load_partial(network, read_weights_file(config.weights))
        others = [name for name in report.unexpected if name.removeprefix("module.").startswith(("layer", "conv"))]
        if report.missing or report.wrong_shape or others:
            raise ModelError(
                f"{config.weights} is of another network than one with blocks={config.blocks}: {report}. ResNet-20 has "
                "3 blocks a stage, ResNet-56 has 9."
            )
    return network
