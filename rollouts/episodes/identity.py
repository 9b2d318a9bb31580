"""What a run is of: settings, content of its policy, machine. `run.json` holds it, and a run is only continued as itself."""

from dataclasses import dataclass
from typing import Any

from typing_extensions import TypedDict  # pydantic reads that of `typing` from Python 3.12 on


class SamplerUsed(TypedDict):
    """What denoised: its name, and all its settings, those by default included; of a measured one also what was `chosen`."""

    name: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class RunIdentity:
    """Everything that a run's numbers depend on, but how many episodes there are.

    Names and values are those of `run.json`; differences are told in this order.

    Attributes:
        task, sampler, seed, envs, threads, device, engine, precision, clock, controller, disturbance: see `RolloutConfig`.
        model_sha256, checkpoint_sha256: content of the weights, and of the whole checkpoint.
        execute, max_steps: as they are in force.
        hardware, versions: what it runs on.
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
