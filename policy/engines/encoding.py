"""Encoders of a policy's observations, run once per plan with the software of its engine."""

from collections.abc import Mapping
from threading import Lock
from typing import Protocol

import torch
from torch import Tensor

from paradp.policy.engines.building import AGREEMENT
from paradp.policy.engines.engine import Engine
from paradp.policy.networks.conditional import ConditionalNetwork
from paradp.policy.spec import PolicySpec
from paradp.sampler.rounds.device import capture


class Encoder(Protocol):
    """Computes `ConditionalNetwork.encode_observation`, on every engine in fp32."""

    def prepare(self, batch: int, /) -> None:
        """Compiles ahead for this batch size, if it is a compiling encoder."""
        ...

    def __call__(self, observation: Mapping[str, Tensor], /) -> Tensor:
        """Returns the conditions `[n, C]` of normalised observations, by feature `[n, To, *shape]`."""
        ...


class PlainEncoder:
    """Eager PyTorch."""

    def __init__(self, network: ConditionalNetwork):
        self._network = network

    def prepare(self, batch: int) -> None:
        """Does nothing."""

    def __call__(self, observation: Mapping[str, Tensor]) -> Tensor:
        return self._network.encode_observation(observation)


class CapturedEncoder:
    """PyTorch in a CUDA graph for each batch size, because a ResNet has about sixty operations to launch."""

    def __init__(self, network: ConditionalNetwork):
        self._network = network
        self._captured: dict[int, _Captured] = {}
        self._lock = Lock()  # all threads share the buffers

    def prepare(self, batch: int) -> None:
        """Releases the graphs for other batch sizes."""
        with self._lock:
            self._captured = {n: one for n, one in self._captured.items() if n == batch}

    def __call__(self, observation: Mapping[str, Tensor]) -> Tensor:
        batch = len(next(iter(observation.values())))
        with self._lock:
            if batch not in self._captured:
                self._captured[batch] = _Captured(self._network, observation)
            return self._captured[batch](observation)


class _Captured:
    """The graph for one batch size, with its own inputs."""

    def __init__(self, network: ConditionalNetwork, observation: Mapping[str, Tensor]):
        self._network = network
        self._inputs = {key: values.clone() for key, values in observation.items()}
        self._found: Tensor | None = None
        self._replay = capture(self._encode, next(iter(observation.values())).device)

    def __call__(self, observation: Mapping[str, Tensor]) -> Tensor:
        for key, buffer in self._inputs.items():
            buffer.copy_(observation[key], non_blocking=True)
        self._replay()
        assert self._found is not None
        return self._found.clone()

    @torch.no_grad()
    def _encode(self) -> None:
        self._found = self._network.encode_observation(self._inputs)


def build_encoder(network: ConditionalNetwork, spec: PolicySpec, engine: Engine, device: torch.device) -> Encoder:
    """Builds the encoder for an engine: OpenVINO for OpenVINO, CUDA graphs for engines that capture, otherwise PyTorch.

    Raises:
        ValueError: its conditions differ from those of the network.
    """
    if network.vision is None:
        return PlainEncoder(network)
    if engine.name == "openvino":
        from paradp.policy.engines.openvino import OpenVINOEncoder

        compiled = OpenVINOEncoder(network, spec)
        _check_agreement(compiled, network, spec)
        return compiled
    return CapturedEncoder(network) if engine.graphs is not None and device.type == "cuda" else PlainEncoder(network)


@torch.no_grad()
def _check_agreement(encoder: Encoder, network: ConditionalNetwork, spec: PolicySpec, rows: int = 2) -> None:
    """Compares an encoder with PyTorch on random observations.

    Raises:
        ValueError: they differ by more than rounding.
    """
    generator = torch.Generator().manual_seed(0)
    seen = {
        key: 2 * torch.rand(rows, spec.horizons.observe, *feature.shape, generator=generator) - 1
        for key, feature in spec.observed.items()
    }
    expected, found = network.encode_observation(seen), encoder(seen)
    difference = float((expected - found).abs().max() / expected.abs().max())
    if not difference <= AGREEMENT["fp32"]:
        raise ValueError(
            f"the openvino engine encodes images differently from PyTorch, by {difference:.1e} of the largest number, more"
            f" than rounding explains ({AGREEMENT['fp32']:g}); use another engine"
        )
