"""The U-Net's order of computation, whoever computes its layers."""

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from torch import Tensor

from paradp.policy.engines.fused.packing import Block, C, Layers, Level, NormalisedConvolution

Sums = TypeVar("Sums")
# Features `[n, h, C]`, side by side where a skip connection joins two.
Features = tuple[Tensor, ...]


class ChannelsLastUnet(ABC, Generic[C, Sums]):
    """Computes `ConditionalUnet1D.denoise`, for inference, with features `[n, h, C]`.

    Subclasses compute a layer in two parts: the sums of a convolution, in whatever form suits them, and then what is done
    with each element.

    Args:
        layers: of the network, in the form and precision that the subclass computes with.
    """

    def __init__(self, layers: Layers[C]):
        self._layers = layers

    def __call__(self, x: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        """The prediction `[n, H, A]` for chunks `[n, H, A]`, encoded timesteps and conditions `[n, F]` each; in x's type."""
        film = timestep, condition
        h = x
        skips: list[Tensor] = []
        for level in self._layers.down:
            skips.append(self._level(level, (h,), film))
            h = self._resampled(level, skips[-1])
        h = self._level(self._layers.middle, (h,), film)
        for level in self._layers.up:
            h = self._resampled(level, self._level(level, (h, skips.pop()), film))
        head = self._layers.head
        h = self.normalise(head, self.convolve(head.convolution, (h,)))
        return self.project(self._layers.projection, h, x)

    def _level(self, level: Level[C], x: Features, film: tuple[Tensor, Tensor]) -> Tensor:
        first, second = level.blocks
        return self._block(second, (self._block(first, x, film),), film)

    def _block(self, block: Block[C], x: Features, film: tuple[Tensor, Tensor]) -> Tensor:
        begun = self.convolve(block.first.convolution, x)
        ended = self.convolve(block.second.convolution, (self.modulate(block, begun, *film),))
        return self.add(block, ended, x, begun)

    def _resampled(self, level: Level[C], x: Tensor) -> Tensor:
        return x if level.resample is None else self.resample(level.resample, x)

    @abstractmethod
    def convolve(self, convolution: C, x: Features) -> Sums:
        """The sums of all sections, without their biases."""

    @abstractmethod
    def normalise(self, layer: NormalisedConvolution[C], sums: Sums) -> Tensor:
        """Bias, group normalisation, Mish."""

    @abstractmethod
    def modulate(self, block: Block[C], sums: Sums, timestep: Tensor, condition: Tensor) -> Tensor:
        """Of a block's first convolution: bias, group normalisation, Mish, FiLM."""

    @abstractmethod
    def add(self, block: Block[C], sums: Sums, x: Features, begun: Sums) -> Tensor:
        """Of a block's second convolution: bias, group normalisation, Mish, plus the block's residual.

        Args:
            block: whose it is.
            sums: of its second convolution.
            x: the block's input.
            begun: the sums of its first convolution, whose second section is the residual where the block has one.
        """

    @abstractmethod
    def resample(self, convolution: C, x: Tensor) -> Tensor:
        """The convolution with its bias; the steps of two sections take turns."""

    @abstractmethod
    def project(self, convolution: C, h: Tensor, like: Tensor) -> Tensor:
        """The convolution with its bias, in the type of `like`."""
