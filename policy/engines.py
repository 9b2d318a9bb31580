"""Engines compute a policy's network: PyTorch as it is, or compiled for the device at hand.

An engine is a `Denoiser` whose conditions were encoded by it: `encode` once a plan, and then one call a round.
"""

import difflib
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from paradp.policy.conditional import ConditionalNetwork
from paradp.policy.spec import PolicySpec

EngineName = Literal["auto", "eager", "openvino"]
Precision = Literal["fp32", "bf16"]
# How far an engine's predictions may be from eager PyTorch's, in units of the largest: rounding through some sixty layers.
AGREEMENT: dict[Precision, float] = {"fp32": 1e-4, "bf16": 0.1}


class Engine(Protocol):
    """Computes one network.

    Attributes:
        name: what it is called on the command line.
        precision: of its arithmetic.
    """

    name: str
    precision: Precision

    def encode(self, condition: Tensor) -> Tensor:
        """What `__call__` takes for conditions `[B, C]`: `[B, G]`, computed once a plan."""
        ...

    def prepare(self, rows: Sequence[int]) -> None:
        """Does now what calls with so many rows would do at their first time."""
        ...

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Predictions `[n, H, A]` for chunks `[n, H, A]`, integer timesteps `[n]` and encoded conditions `[n, G]`."""
        ...


class EagerEngine:
    """PyTorch as it is, with the timesteps' encoding tabulated."""

    name = "eager"
    precision: Precision = "fp32"

    def __init__(self, network: ConditionalNetwork, spec: PolicySpec, device: torch.device):
        self._network = network
        self._timesteps = tabulate(network, spec, device)

    def encode(self, condition: Tensor) -> Tensor:
        return self._network.encode_condition(condition)

    def prepare(self, rows: Sequence[int]) -> None:
        """Nothing: eager PyTorch compiles nothing."""

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return self._network.denoise(x, self._timesteps[t], condition)


@torch.no_grad()
def tabulate(network: ConditionalNetwork, spec: PolicySpec, device: torch.device) -> Tensor:
    """The encoding of every timestep that the policy was trained with, `[T, F]`."""
    return network.encode_timestep(torch.arange(spec.schedule["num_train_timesteps"], device=device))


def build_engine(
    network: ConditionalNetwork,
    spec: PolicySpec,
    device: torch.device,
    name: EngineName = "auto",
    precision: Precision = "fp32",
) -> Engine:
    """The engine of that name; `auto` takes the fastest that there is for the device.

    Raises:
        ValueError: name, precision or device are unknown to the engine, its package is missing, or its predictions are not
            those of the network.
    """
    for what, given, known in (("engine", name, get_args(EngineName)), ("precision", precision, get_args(Precision))):
        if given not in known:
            near = difflib.get_close_matches(given, known, n=1)
            hint = f" — did you mean {near[0]!r}?" if near else "."
            raise ValueError(f"unknown {what} {given!r}{hint} There are: {', '.join(known)}.")
    if name == "auto":
        name = "openvino" if device.type == "cpu" and find_spec("openvino") else "eager"
    return _BUILDERS[name](network, spec, device, precision)


def _eager(network: ConditionalNetwork, spec: PolicySpec, device: torch.device, precision: Precision) -> Engine:
    if precision != "fp32":
        raise ValueError(f"the eager engine computes in fp32, not in {precision}")
    return EagerEngine(network, spec, device)


def _openvino(network: ConditionalNetwork, spec: PolicySpec, device: torch.device, precision: Precision) -> Engine:
    if device.type != "cpu":
        raise ValueError(f"the openvino engine computes on the cpu, not on {device.type}")
    if not find_spec("openvino"):
        raise ValueError("the openvino engine needs the package openvino, which the extra paradp[openvino] installs")
    from paradp.policy.openvino_engine import OpenVINOEngine

    engine = OpenVINOEngine(network, spec, precision)
    check_agreement(engine, EagerEngine(network, spec, device), spec)
    return engine


_BUILDERS: dict[str, Callable[[ConditionalNetwork, PolicySpec, torch.device, Precision], Engine]] = {
    "eager": _eager,
    "openvino": _openvino,
}


@torch.no_grad()
def check_agreement(engine: Engine, eager: EagerEngine, spec: PolicySpec, rows: int = 4) -> None:
    """Compares an engine with eager PyTorch on random rows.

    Raises:
        ValueError: they differ by more than the precision explains.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, spec.horizons.predict, spec.action_size, generator=generator)
    t = torch.linspace(0, spec.schedule["num_train_timesteps"] - 1, rows).long()
    condition = torch.randn(rows, spec.condition_size, generator=generator)
    expected, found = (one(x, t, one.encode(condition)) for one in (eager, engine))
    difference = float((expected - found).abs().max() / expected.abs().max())
    if not difference <= AGREEMENT[engine.precision]:
        raise ValueError(
            f"the {engine.name} engine's predictions differ from PyTorch's by {difference:.1e} of the largest, more than "
            f"{engine.precision} explains ({AGREEMENT[engine.precision]:g}); use another engine or precision"
        )
