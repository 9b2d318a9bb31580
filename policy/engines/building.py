"""Builds engines, which compute a policy's network: eager PyTorch, or compiled for the device.

An engine is a `Denoiser` with its own encoding of conditions: call `encode` once per plan, and the engine once per round.
"""

import copy
import logging
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import get_args

import torch

from paradp.policy.choices import ENGINE_GROUP, ENGINES, EngineName, Precision, engine_names
from paradp.policy.engines.engine import Engine
from paradp.policy.engines.pytorch import CompiledEngine, CudaGraphEngine, EagerEngine, compiles
from paradp.policy.engines.spread import SpreadEngine
from paradp.policy.networks.conditional import ConditionalNetwork
from paradp.policy.spec import PolicySpec
from paradp.policy.wording import in_a_clone
from paradp.sampler.lookup import unknown
from paradp.sampler.plugins import load_plugin
from paradp.sampler.rounds import launching

_LOG = logging.getLogger(__name__)
# bf16 may be slower than fp32 by this factor without a warning.
SLOWER = 1.3
# Tolerance between an engine's predictions and eager PyTorch's, relative to the largest: rounding in about sixty layers.
AGREEMENT: dict[Precision, float] = {"fp32": 1e-4, "bf16": 0.1}

# Builds an engine from a network, the policy's specification, a device and a precision; an engine's class is a builder.
Builder = Callable[[ConditionalNetwork, PolicySpec, torch.device, Precision], Engine]


def build_engine(
    network: ConditionalNetwork,
    spec: PolicySpec,
    device: torch.device | Sequence[torch.device],
    name: EngineName = "auto",
    precision: Precision = "fp32",
) -> Engine:
    """Builds an engine by name; `auto` chooses the fastest available one for the device.

    Args:
        network: the network, on the (first) device.
        spec: specification of the policy.
        device: where to compute. Several devices of one kind share the rows of each call, each with a copy of the network.
        name, precision: engine and number format.

    Raises:
        ValueError: the engine does not support name, precision or device, its package is missing, or its predictions differ
            from those of the network.
    """
    for what, given, known in (
        ("engine", name, (*engine_names(), *_BUILDERS)),
        ("precision", precision, get_args(Precision)),
    ):
        if given not in known:
            raise ValueError(unknown(f"unknown {what}", given, known))
    if isinstance(device, torch.device):
        return _build(network, spec, device, name, precision)
    first, *others = device
    engines = [_build(network, spec, first, name, precision)]
    engines += [_build(copy.deepcopy(network).to(other), spec, other, name, precision) for other in others]
    return SpreadEngine(engines, device) if others else engines[0]


def _build(
    network: ConditionalNetwork, spec: PolicySpec, device: torch.device, name: EngineName, precision: Precision
) -> Engine:
    """Builds an engine on one device, and compares it with PyTorch there."""
    if device.type == "cuda" and precision == "fp32":
        torch.backends.cudnn.allow_tf32 = False  # by default convolutions keep ten bits only
    engine = _builder(fastest_engine(device) if name == "auto" else name)(network, spec, device, precision)
    if (engine.name, precision) != ("eager", "fp32"):
        eager = EagerEngine(network, spec, device)
        check_agreement(engine, eager, spec, device)
        # OpenVINO chooses instructions by itself.
        if precision == "bf16" and device.type == "cpu" and engine.name != "openvino":
            warn_if_slower(engine, eager, spec)
    return engine


def _builder(name: EngineName) -> Builder:
    return _BUILDERS.get(name) or load_plugin(ENGINE_GROUP, name, Callable)  # type: ignore[arg-type]


def register_engine(name: EngineName, build: Builder) -> None:
    """Adds an engine in this process; an entry point of the group `paradp.engines` does it in every process.

    Raises:
        ValueError: the name is taken.
    """
    if name in engine_names():
        raise ValueError(f"two engines have the name {name!r}")
    ENGINES.append(name)
    _BUILDERS[name] = build


@torch.no_grad()
def warn_if_slower(engine: Engine, eager: Engine, spec: PolicySpec, rows: int = 4) -> None:
    """Warns if bf16 is slower than eager PyTorch in fp32, as on CPUs without bf16 instructions."""
    x, t = torch.zeros(rows, spec.horizons.predict, spec.action_size), torch.zeros(rows, dtype=torch.int64)
    seconds = []
    for one in (eager, engine):
        condition, times = one.encode(torch.zeros(rows, spec.condition_size)), []
        for _ in range(3):
            started = time.perf_counter()
            one(x, t, condition)
            times.append(time.perf_counter() - started)
        seconds.append(min(times))
    if (ratio := seconds[1] / seconds[0]) > SLOWER:
        _LOG.warning("bf16 takes %.1f times as long as fp32 on the %s engine here; fp32 is faster", ratio, engine.name)


def fastest_engine(device: torch.device) -> EngineName:
    """The engine that `auto` chooses."""
    if device.type == "cuda":
        return "cuda-graph"
    return "openvino" if device.type == "cpu" and find_spec("openvino") else "eager"


def _compiled(network: ConditionalNetwork, spec: PolicySpec, device: torch.device, precision: Precision) -> Engine:
    if not compiles(device):
        needed = launching.lacking() if device.type == "cuda" else "a C++ compiler: g++, or the one that CXX names"
        raise ValueError(f"on {device.type} the compiled engine needs {needed}")
    return CompiledEngine(network, spec, device, precision)


def _openvino(network: ConditionalNetwork, spec: PolicySpec, device: torch.device, precision: Precision) -> Engine:
    if device.type != "cpu":
        raise ValueError(f"the openvino engine computes on the cpu, not on {device.type}")
    if not find_spec("openvino"):
        raise ValueError(f"the openvino engine needs the package openvino: {in_a_clone('openvino')}")
    from paradp.policy.engines.openvino import OpenVINOEngine

    return OpenVINOEngine(network, spec, precision)


def _cuda_graph(network: ConditionalNetwork, spec: PolicySpec, device: torch.device, precision: Precision) -> Engine:
    if device.type != "cuda":
        raise ValueError(f"the cuda-graph engine computes on cuda, not on {device.type}")
    return CudaGraphEngine(network, spec, device, precision)


_BUILDERS: dict[EngineName, Builder] = {
    "eager": EagerEngine,
    "compiled": _compiled,
    "openvino": _openvino,
    "cuda-graph": _cuda_graph,
}


@torch.no_grad()
def check_agreement(engine: Engine, eager: Engine, spec: PolicySpec, device: torch.device, rows: int = 4) -> None:
    """Compares an engine with eager PyTorch on random rows.

    Raises:
        ValueError: they differ by more than the precision allows.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, spec.horizons.predict, spec.action_size, generator=generator).to(device)
    t = torch.linspace(0, spec.timesteps - 1, rows).long().to(device)
    condition = torch.randn(rows, spec.condition_size, generator=generator).to(device)
    expected, found = (one(x, t, one.encode(condition)) for one in (eager, engine))
    difference = float((expected - found).abs().max() / expected.abs().max())
    if not difference <= AGREEMENT[engine.precision]:
        raise ValueError(
            f"the {engine.name} engine's predictions differ from PyTorch's by {difference:.1e} of the largest, more than "
            f"{engine.precision} explains ({AGREEMENT[engine.precision]:g}); use another engine or precision"
        )
