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
    """PyTorch as it is, with the timesteps' encoding tabulated.

    Args:
        network: on the device; bf16 computes with a copy.
        spec: what the network is for.
        device: where it is.
        precision: of weights and arithmetic; inputs and outputs are float32.
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
        """Nothing: eager PyTorch compiles nothing."""

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return self._denoise(x, self._timesteps[t], condition)


class CompiledEngine(EagerEngine):
    """PyTorch's compiler, once for one row and once for any other number; what it made is kept in the cache folder."""

    name = "compiled"

    def __init__(self, network: ConditionalNetwork, spec: PolicySpec, device: torch.device, precision: Precision = "fp32"):
        super().__init__(network, spec, device, precision)
        self.encode = condition_encoder(network)
        for name, variable in (("inductor", "TORCHINDUCTOR_CACHE_DIR"), ("triton", "TRITON_CACHE_DIR")):
            with suppress(OSError):  # without a place to write, PyTorch and Triton keep it where they like
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
    """Whole rounds of a solver captured in CUDA graphs, one for each solver and batch.

    Triton's kernels compute a U-Net where Triton is installed and the GPU is no older than Ampere; PyTorch's compiler
    computes all else.

    Args:
        network, spec, device, precision: as of an `EagerEngine`.
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
                _LOG.warning("%s: the network is computed by PyTorch's own kernels, which take longer", missing)

    def prepare(self, rows: Sequence[int]) -> None:
        """Forgets the rounds captured so far; the first solve of a shape captures its own."""
        assert self.graphs is not None
        self.graphs.clear()


def compiles(device: torch.device) -> bool:
    """Whether PyTorch's compiler has what it needs there: a C++ compiler, or Triton for a GPU."""
    return launching.lacking() is None if device.type == "cuda" else bool(shutil.which(os.environ.get("CXX", "g++")))


def lacking(device: torch.device) -> str | None:
    """What the U-Net's own kernels would need there and do not find, in a few words."""
    if device.type != "cuda":
        return "no GPU of CUDA's"
    if missing := launching.lacking():
        return f"the U-Net's kernels need {missing}"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return f"{torch.cuda.get_device_name(device)} is older than Ampere"
    return None


def casting(network: ConditionalNetwork, dtype: torch.dtype) -> Denoise:
    """A network's `denoise`, computed in the network's type for inputs of another."""

    def denoise(x: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        return network.denoise(x.to(dtype), timestep, condition.to(dtype)).to(x.dtype)

    return denoise


@torch.no_grad()
def tabulate(network: ConditionalNetwork, spec: PolicySpec, device: torch.device) -> Tensor:
    """The encoding of every timestep that the policy was trained with, `[T, F]`."""
    return network.encode_timestep(torch.arange(spec.timesteps, device=device))
