"""ResNets (He et al. 2016, arXiv 1512.03385) without their last two layers, with torchvision's module names."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from paradp.policy.networks.vision.config import GROUP_CHANNELS, Backbone, VisionConfig

Norm = Callable[[int], nn.Module]
# Channels of the four resolutions, as multiples of the stem's.
_WIDTHS = (1, 2, 4, 8)


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions with a shortcut."""

    expansion = 1

    def __init__(self, size_in: int, width: int, stride: int, norm: Norm):
        super().__init__()
        self.conv1 = _conv(size_in, width, 3, stride)
        self.bn1 = norm(width)
        self.conv2 = _conv(width, width, 3)
        self.bn2 = norm(width)
        self.downsample = _shortcut(size_in, width, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        h = self.bn1(self.conv1(x)).relu()
        return (self.bn2(self.conv2(h)) + (x if self.downsample is None else self.downsample(x))).relu()


class Bottleneck(nn.Module):
    """A 3 × 3 convolution with few channels between two 1 × 1 convolutions, with a shortcut."""

    expansion = 4

    def __init__(self, size_in: int, width: int, stride: int, norm: Norm):
        super().__init__()
        size_out = self.expansion * width
        self.conv1 = _conv(size_in, width, 1)
        self.bn1 = norm(width)
        self.conv2 = _conv(width, width, 3, stride)
        self.bn2 = norm(width)
        self.conv3 = _conv(width, size_out, 1)
        self.bn3 = norm(size_out)
        self.downsample = _shortcut(size_in, size_out, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        h = self.bn1(self.conv1(x)).relu()
        h = self.bn2(self.conv2(h)).relu()
        return (self.bn3(self.conv3(h)) + (x if self.downsample is None else self.downsample(x))).relu()


@dataclass(frozen=True)
class _Stages:
    """The type of blocks, and their number at each of the four resolutions."""

    block: type[BasicBlock] | type[Bottleneck]
    depths: tuple[int, int, int, int]


_KINDS: dict[Backbone, _Stages] = {
    "resnet18": _Stages(BasicBlock, (2, 2, 2, 2)),
    "resnet34": _Stages(BasicBlock, (3, 4, 6, 3)),
    "resnet50": _Stages(Bottleneck, (3, 4, 6, 3)),
}


def resnet(config: VisionConfig) -> nn.Sequential:
    """Builds a network from images `[n, 3, h, w]` to maps `[n, C, h', w']`, with random weights."""
    kind, norm = _KINDS[config.backbone], _NORMS[config.norm]
    layers: list[nn.Module] = [
        nn.Conv2d(3, config.stem, 7, 2, 3, bias=False),
        norm(config.stem),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    ]
    size = config.stem
    for level, (times, depth) in enumerate(zip(_WIDTHS, kind.depths, strict=True)):
        blocks, width = [], times * config.stem
        for i in range(depth):
            blocks.append(kind.block(size, width, 2 if level and not i else 1, norm))
            size = kind.block.expansion * width
        layers.append(nn.Sequential(*blocks))
    return nn.Sequential(*layers)


def map_shape(config: VisionConfig, height: int, width: int) -> tuple[int, int, int]:
    """C, h' and w' of a ResNet's maps for images of this height and width."""
    halvings = 2 + len(_WIDTHS) - 1
    for _ in range(halvings):
        height, width = (height + 1) // 2, (width + 1) // 2
    return _KINDS[config.backbone].block.expansion * _WIDTHS[-1] * config.stem, height, width


def _group_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(channels // GROUP_CHANNELS, channels)


_NORMS: dict[str, Norm] = {"batch": nn.BatchNorm2d, "group": _group_norm}


def _conv(size_in: int, size_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(size_in, size_out, kernel, stride, kernel // 2, bias=False)


def _shortcut(size_in: int, size_out: int, stride: int, norm: Norm) -> nn.Sequential | None:
    """Makes a shortcut to another number of channels or resolution; `None` if both stay the same."""
    if stride == 1 and size_in == size_out:
        return None
    return nn.Sequential(_conv(size_in, size_out, 1, stride), norm(size_out))
