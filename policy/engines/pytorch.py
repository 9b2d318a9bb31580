"""Engines that compute with PyTorch."""

import copy
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress

import torch
from torch import Tensor

from paradp.policy.cache import cache_folder
from paradp.policy.choices import Precision
from paradp.policy.engines.fused import Denoise, fused_unet
from paradp.policy.networks.conditional import ConditionalNetwork
from paradp.policy.networks.stacked import condition_encoder
from paradp.policy.networks.unet import ConditionalUnet1D
from paradp.policy.spec import PolicySpec
from paradp.sampler import Graphs
from paradp.sampler.rounds import launching

_LOG = logging.getLogger(__name__)
_TYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


class EagerEngine:
    """Eager PyTorch, with a table of the timesteps' encodings.

    Args:
        network: the network on the device; bf16 uses a copy.
        spec: specification of the policy.
        device: device of the network.
        precision: number format of weights and arithmetic; inputs and outputs are float32.
    """

    name = "eager"
    graphs: Graphs | None = None

    def __init__(self, network: ConditionalNetwork, spec: PolicySpec, device: torch.device, precision: Precision = "fp32"):
        self.precision = precision
        self._type = _TYPES[precision]
        self.encode: Callable[[Tensor], Tensor] = network.encode_condition
        self._timesteps = tabulate(network, spec, device).to(self._type)
        self._denoise = casting(network if precision == "fp32" else copy.deepcopy(network).to(self._type), self._type)

    def prepare(self, rows: Sequence[int]) -> None:
        """Does nothing: eager PyTorch does not compile."""

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return self._denoise(x, self._timesteps[t], condition)


class CompiledEngine(EagerEngine):
    """PyTorch's compiler: one program for a single row and one for any other batch size, both cached on disk."""

    name = "compiled"

    def __init__(self, network: ConditionalNetwork, spec: PolicySpec, device: torch.device, precision: Precision = "fp32"):
        super().__init__(network, spec, device, precision)
        self.encode = condition_encoder(network)
        for name, variable in (("inductor", "TORCHINDUCTOR_CACHE_DIR"), ("triton", "TRITON_CACHE_DIR")):
            with suppress(OSError):  # without a writable folder, PyTorch and Triton use their defaults
                folder = cache_folder() / name
                folder.mkdir(parents=True, exist_ok=True)
                os.environ.setdefault(variable, str(folder))
        if compiles(device):
            self._denoise = torch.compile(self._denoise, dynamic=True)
        self._shape, self._condition_size, self._device = (
            (spec.horizons.predict, spec.action_size),
            spec.condition_size,
            device,
        )

    @torch.no_grad()
    def prepare(self, rows: Sequence[int]) -> None:
        for n in {min(rows), max(rows)}:
            x, t = torch.zeros(n, *self._shape, device=self._device), torch.zeros(n, dtype=torch.int64, device=self._device)
            self(x, t, self.encode(torch.zeros(n, self._condition_size, device=self._device)))


class CudaGraphEngine(CompiledEngine):
    """Captures whole rounds of a solver in CUDA graphs, one per solver and batch size.

    Triton kernels compute a U-Net if Triton is installed and the GPU is Ampere or newer; PyTorch's compiler computes
    everything else.

    Args:
        network, spec, device, precision: as for `EagerEngine`.
    """

    name = "cuda-graph"
    graphs: Graphs | None

    def __init__(self, network: ConditionalNetwork, spec: PolicySpec, device: torch.device, precision: Precision = "fp32"):
        super().__init__(network, spec, device, precision)
        self.graphs = Graphs()
        if isinstance(network, ConditionalUnet1D):
            missing = lacking(device)
            if missing is None:
                self._denoise = fused_unet(network, self._type)
            elif device.type == "cuda":
                _LOG.warning("%s: the network is computed with PyTorch's own kernels, which are slower", missing)

    def prepare(self, rows: Sequence[int]) -> None:
        """Releases all captured rounds; the next solve of each shape captures again."""
        assert self.graphs is not None
        self.graphs.clear()


def compiles(device: torch.device) -> bool:
    """Whether PyTorch can compile for the device: it needs a C++ compiler, or Triton for a GPU."""
    return launching.lacking() is None if device.type == "cuda" else bool(shutil.which(os.environ.get("CXX", "g++")))


def lacking(device: torch.device) -> str | None:
    """The missing requirement of the U-Net's Triton kernels, in a few words."""
    if device.type != "cuda":
        return "not a CUDA GPU"
    if missing := launching.lacking():
        return f"the U-Net's kernels need {missing}"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return f"{torch.cuda.get_device_name(device)} is older than Ampere"
    return None


def casting(network: ConditionalNetwork, dtype: torch.dtype) -> Denoise:
    """A network's `denoise` with inputs converted to the network's type."""

    def denoise(x: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        return network.denoise(x.to(dtype), timestep, condition.to(dtype)).to(x.dtype)

    return denoise


@torch.no_grad()
def tabulate(network: ConditionalNetwork, spec: PolicySpec, device: torch.device) -> Tensor:
    """The encodings of all timesteps of the training, `[T, F]`."""
    return network.encode_timestep(torch.arange(spec.timesteps, device=device))
