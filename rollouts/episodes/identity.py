"""The identity of a run: settings, policy and machine, stored in `run.json`. A run is only continued with the same one."""

from dataclasses import dataclass
from typing import Any

from typing_extensions import TypedDict  # pydantic supports the one of `typing` only from Python 3.12 on


class SamplerUsed(TypedDict):
    """The sampler's name and all its settings, defaults included; for `auto` also the `chosen` sampler."""

    name: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class RunIdentity:
    """Everything that a run's numbers depend on, except the number of episodes.

    Names and values are those of `run.json`; error messages list differences in this order.

    Attributes:
        task, sampler, seed, envs, threads, device, engine, precision, clock, controller, disturbance: see `RolloutConfig`.
        model_sha256, checkpoint_sha256: hashes of the weights and of the whole checkpoint.
        execute, max_steps: the values in effect.
        hardware, versions: the machine and the package versions.
    """

    task: str
    sampler: SamplerUsed
    model_sha256: str
    checkpoint_sha256: str
    seed: int
    envs: int
    threads: int
    device: str
    engine: str
    precision: str
    execute: int
    clock: str
    controller: str
    disturbance: str | None
    max_steps: int
    hardware: dict[str, Any]
    versions: dict[str, str]
