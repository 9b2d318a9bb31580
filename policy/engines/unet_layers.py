"""The U-Net's layers as matrix products, convolutions of the same input side by side.

Every convolution of the network has the form

    out[n, h] = bias + Σ_tap  x[n, h · stride + tap − padding] @ weight[tap],

with x = 0 outside the horizon. A transposed convolution of stride 2 is two of them, one for the even and one for the odd
steps: the steps `2h` and `2h + 1` of its output are the two *sections* of row `h`. The 1×1 convolution of a residual has
the same input as the block's first convolution, and is that one's second section.
"""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from torch import Tensor, nn

from paradp.policy.networks.unet import ConditionalUnet1D, ConvBlock, ResidualBlock, Stage

# A convolution in the form that the kernels need.
C = TypeVar("C")


@dataclass(frozen=True)
class Section:
    """One convolution: weight `[taps, channels in, channels out]`, bias `[channels out]`."""

    weight: Tensor
    bias: Tensor
    padding: int


@dataclass(frozen=True)
class Convolution:
    """One or two convolutions of the same input, stride and number of channels out.

    Attributes:
        parts: number of features, of equally many channels, that are concatenated to its input.
    """

    sections: tuple[Section, ...]
    stride: int = 1
    parts: int = 1


@dataclass(frozen=True)
class Normalisation:
    """Group normalisation: weight and bias `[channels]`."""

    weight: Tensor
    bias: Tensor
    groups: int
    eps: float


@dataclass(frozen=True)
class NormalisedConvolution(Generic[C]):
    """A convolution whose first section is normalised."""

    convolution: C
    norm: Normalisation


@dataclass(frozen=True)
class Block(Generic[C]):
    """A residual block.

    Attributes:
        first, second: its convolutions; the first has the residual's as its second section where there is one.
        film: index of its first scale among the scales and biases of all blocks.
    """

    first: NormalisedConvolution[C]
    second: NormalisedConvolution[C]
    film: int


@dataclass(frozen=True)
class Level(Generic[C]):
    """Two blocks, and the resampling to the next resolution, if any."""

    blocks: tuple[Block[C], Block[C]]
    resample: C | None


@dataclass(frozen=True)
class Layers(Generic[C]):
    """All layers of a `ConditionalUnet1D`."""

    down: tuple[Level[C], ...]
    middle: Level[C]
    up: tuple[Level[C], ...]
    head: NormalisedConvolution[C]
    projection: C


def pack(network: ConditionalUnet1D, form: Callable[[Convolution], C]) -> Layers[C]:
    """Extracts the layers of a network, each convolution converted by `form`."""
    film = itertools.accumulate((2 * block.size for block in network.blocks()), initial=0)

    def normalised(block: ConvBlock, *others: Section, parts: int = 1) -> NormalisedConvolution[C]:
        convolution, norm = cast(tuple[nn.Conv1d, nn.GroupNorm], (block[0], block[1]))
        values = Normalisation(norm.weight.detach(), norm.bias.detach(), norm.num_groups, norm.eps)
        return NormalisedConvolution(form(Convolution((_section(convolution), *others), parts=parts)), values)

    def block(its: ResidualBlock, parts: int = 1) -> Block[C]:
        residual = (_section(its.residual),) if isinstance(its.residual, nn.Conv1d) else ()
        return Block(normalised(its.first, *residual, parts=parts), normalised(its.second), next(film))

    def level(stage: Stage, parts: int = 1) -> Level[C]:
        resample = _resampling(stage.resample)
        return Level((block(stage.first, parts), block(stage.second)), None if resample is None else form(resample))

    def levels(stages: nn.ModuleList, parts: int = 1) -> tuple[Level[C], ...]:
        return tuple(level(stage, parts) for stage in cast(Iterable[Stage], stages))

    head, projection = cast(tuple[ConvBlock, nn.Conv1d], tuple(network.head))
    return Layers(
        # In the order of computation, which is also the order of the blocks' scales and biases.
        down=levels(network.down),
        middle=level(network.middle),
        up=levels(network.up, parts=2),
        head=normalised(head),
        projection=form(Convolution((_section(projection),))),
    )


def _section(convolution: nn.Conv1d) -> Section:
    padding = cast(int, convolution.padding[0])
    return Section(convolution.weight.detach().permute(2, 1, 0), _bias(convolution), padding)


def _resampling(layer: nn.Module) -> Convolution | None:
    if isinstance(layer, nn.ConvTranspose1d):  # kernel 4, stride 2, padding 1
        taps = layer.weight.detach().permute(2, 0, 1)
        return Convolution((Section(taps[[3, 1]], _bias(layer), 1), Section(taps[[2, 0]], _bias(layer), 0)))
    if isinstance(layer, nn.Conv1d):
        return Convolution((_section(layer),), layer.stride[0])
    return None


def _bias(layer: nn.Conv1d | nn.ConvTranspose1d) -> Tensor:
    return cast(Tensor, layer.bias).detach()
