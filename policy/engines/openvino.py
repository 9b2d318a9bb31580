"""A network compiled by OpenVINO for the CPU."""

import copy
import logging
from collections.abc import Mapping, Sequence
from threading import Lock

import openvino as ov
import torch
from torch import Tensor, nn

from paradp.policy.choices import Precision
from paradp.policy.engines import channels_last, unet_layers
from paradp.policy.engines.channels_last import ChannelsLastUnet
from paradp.policy.engines.openvino_models import CachedModel, CompiledSizes, converted
from paradp.policy.engines.pytorch import tabulate
from paradp.policy.networks.conditional import ConditionalNetwork
from paradp.policy.networks.stacked import condition_encoder
from paradp.policy.networks.unet import ConditionalUnet1D
from paradp.policy.networks.vision import encoder, resnet
from paradp.policy.networks.vision.encoder import VisionEncoder
from paradp.policy.spec import PolicySpec
from paradp.sampler import Graphs

_LOG = logging.getLogger(__name__)
# Limits of a call, in rows of chunks and in robots whose images are encoded; larger batches need several calls.
_MOST, _MOST_SEEN = 64, 8


class OpenVINOEngine:
    """OpenVINO on the CPU, with one compiled network per batch size.

    The converted network is cached on disk. A cache file that is damaged, or from other code, is replaced.

    Args:
        network: the network to compile.
        spec: specification of the policy.
        precision: number format; inputs and outputs are float32.
    """

    name = "openvino"
    graphs: Graphs | None = None

    def __init__(self, network: ConditionalNetwork, spec: PolicySpec, precision: Precision):
        self.precision = precision
        self.encode = condition_encoder(network)
        core = ov.Core()
        in_bf16 = precision == "bf16" and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and not in_bf16:
            _LOG.warning("this CPU has no instructions for bf16: OpenVINO computes in fp32 instead")
        self._sizes = CompiledSizes(core, _read_or_convert(core, network, spec, in_bf16), precision)
        self._lock = Lock()  # all threads share the compiled networks and their buffers

    def prepare(self, rows: Sequence[int]) -> None:
        with self._lock:
            self._sizes.prepare([part for n in rows for part in (min(n, _MOST), n % _MOST if n > _MOST else 0) if part])

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        with self._lock:
            if len(x) <= _MOST:
                return self._sizes.infer(x, t, condition)
            parts = zip(x.split(_MOST), t.split(_MOST), condition.split(_MOST), strict=True)
            return torch.cat([self._sizes.infer(*part) for part in parts])


def _read_or_convert(core: ov.Core, network: ConditionalNetwork, spec: PolicySpec, in_bf16: bool) -> ov.Model:
    form: ConditionalNetwork | ChannelsLastUnet = network
    part, sources = "", [__file__]
    if in_bf16 and isinstance(network, ConditionalUnet1D):
        form, part = ChannelsLastUnet(network), "-channels-last"
        sources += [channels_last.__file__, unet_layers.__file__]
    cached = CachedModel(network, spec, part, *sources)
    model = cached.read(core)
    if model is None:
        condition = network.encode_condition(torch.zeros(2, spec.condition_size))
        chunk = torch.zeros(2, spec.horizons.predict, spec.action_size)
        module = _Denoise(form, tabulate(network, spec, torch.device("cpu")))
        model = converted(module, (chunk, torch.zeros(2, dtype=torch.int64), condition))
        cached.write(model)
    return model


class _Denoise(nn.Module):
    """The part of a network that is computed per row, with a table of the timesteps' encodings."""

    timesteps: Tensor

    def __init__(self, network: ConditionalNetwork | ChannelsLastUnet, timesteps: Tensor):
        super().__init__()
        self.network = network
        self.register_buffer("timesteps", timesteps)

    def forward(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return self.network.denoise(x, self.timesteps[t], condition)


class OpenVINOEncoder:
    """Encodes images with OpenVINO, always in fp32; the converted model is cached on disk like the network.

    Args:
        network: a network with an image encoder.
        spec: specification of the policy.
    """

    def __init__(self, network: ConditionalNetwork, spec: PolicySpec):
        assert network.vision is not None
        self._join, self._cameras = network.join, network.vision.cameras
        core = ov.Core()
        cached = CachedModel(network, spec, "-encoder", __file__, encoder.__file__, resnet.__file__)
        model = cached.read(core)
        if model is None:
            shapes = [(2, spec.horizons.observe, *spec.observed[key].shape) for key in self._cameras]
            model = converted(_See(network.vision), tuple(torch.zeros(shape) for shape in shapes))
            cached.write(model)
        self._sizes, self._lock = CompiledSizes(core, model, "fp32", shared=True), Lock()

    def prepare(self, batch: int) -> None:
        """Compiles for this batch size."""
        with self._lock:
            self._sizes.prepare([min(batch, _MOST_SEEN)])

    def __call__(self, observation: Mapping[str, Tensor]) -> Tensor:
        images = zip(*(observation[key].split(_MOST_SEEN) for key in self._cameras), strict=True)
        with self._lock:
            found = torch.cat([self._sizes.infer(*part) for part in images])
        parts = found.chunk(len(self._cameras), dim=2)
        return self._join({**observation, **dict(zip(self._cameras, parts, strict=True))})


class _See(nn.Module):
    """An image encoder with positional inputs, and the concatenated features of all cameras as output."""

    def __init__(self, vision: VisionEncoder):
        super().__init__()
        self.vision = copy.deepcopy(vision)
        for module in [*self.vision.modules()]:
            for name, inner in module.named_children():
                if isinstance(inner, nn.GroupNorm):
                    setattr(module, name, _GroupNorm(inner))

    def forward(self, *images: Tensor) -> Tensor:
        seen = self.vision(dict(zip(self.vision.cameras, images, strict=True)))
        return torch.cat([seen[key] for key in self.vision.cameras], 2)


class _GroupNorm(nn.Module):
    """A group normalisation in single operations: with OpenVINO's own, version 2026.4 crashes compiling a ResNet in fp32."""

    def __init__(self, norm: nn.GroupNorm):
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        apart = x - self._of_channels(self._of_groups(x))
        scale = (self._of_groups(apart.square()) + self.norm.eps).rsqrt()
        return apart * (self._of_channels(scale) * self.norm.weight[:, None, None]) + self.norm.bias[:, None, None]

    def _of_groups(self, x: Tensor) -> Tensor:
        """Computes the means over the groups of maps `[n, C, h, w]`: `[n, groups, 1]`."""
        return x.mean((2, 3)).unflatten(1, (self.norm.num_groups, -1)).mean(-1, keepdim=True)

    def _of_channels(self, groups: Tensor) -> Tensor:
        """Expands each group's number to all of its channels, `[n, C, 1, 1]`."""
        return groups.expand(-1, -1, self.norm.num_channels // self.norm.num_groups).flatten(1)[:, :, None, None]
