"""Noising processes for training: how noise is added to data, and what the network must predict."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from paradp.policy.errors import SettingError
from paradp.policy.process_config import FlowConfig
from paradp.sampler import StepTable, step_table


class Process(Protocol):
    """A process between data and noise.

    Attributes:
        table: the sampling steps over all timesteps of the training.
    """

    table: StepTable

    def draw(self, size: int, generator: torch.Generator) -> Tensor:
        """Draws random timesteps `[size]` for training."""
        ...

    def noised(self, clean: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
        """Adds noise `[n, …]` to data `[n, …]`, with the noise levels of timesteps `[n]`."""
        ...

    def target(self, clean: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
        """The target of the network's prediction, `[n, …]`."""
        ...


def process_of(schedule: Mapping[str, Any]) -> Process:
    """The process for a policy's schedule.

    Raises:
        ValueError: a setting of the schedule is malformed, not supported or unknown.
    """
    return Flow(schedule) if schedule["_class_name"] == FlowConfig().schedule["_class_name"] else Diffusion(schedule)


def check_ends_in_noise(process: Process) -> None:
    """Checks that a process can be trained to sample from pure noise.

    Raises:
        SettingError: its noisiest chunks are not pure noise.
    """
    alpha_bar = process.table.alpha_bar[0]
    if not alpha_bar < 0.05:
        raise SettingError(
            f"this noise schedule ends with ᾱ = {alpha_bar:.2f} and not near 0: its noisiest chunks are not pure noise, "
            "which sampling starts from; choose a larger beta_end",
            "beta_end",
        )


_TARGETS: dict[str, Callable[..., Tensor]] = {
    "epsilon": lambda scheduler, clean, noise, timestep: noise,
    "sample": lambda scheduler, clean, noise, timestep: clean,
    "v_prediction": lambda scheduler, clean, noise, timestep: scheduler.get_velocity(clean, noise, timestep),
}


class Diffusion:
    """x_t = √ᾱ x_0 + √(1−ᾱ) ε.

    The network predicts the noise (Ho et al. 2020, eq. 14), the clean sample, or v = √ᾱ ε − √(1−ᾱ) x_0 (Salimans & Ho 2022).

    Args:
        schedule: a config of `DDPMScheduler`.
    """

    def __init__(self, schedule: Mapping[str, Any]):
        self.table = step_table(schedule)
        self._scheduler = DDPMScheduler.from_config(schedule)
        self._target = _TARGETS[schedule.get("prediction_type", "epsilon")]

    def draw(self, size: int, generator: torch.Generator) -> Tensor:
        return torch.randint(self._scheduler.config.num_train_timesteps, (size,), generator=generator)

    def noised(self, clean: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
        return self._scheduler.add_noise(clean, noise, timestep)  # type: ignore[arg-type]

    def target(self, clean: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
        return self._target(self._scheduler, clean, noise, timestep)


class Flow:
    """x_τ = (1−τ) x_0 + τ ε at timestep N τ, from 1 to N; the network predicts the velocity ε − x_0 (Lipman et al. 2023).

    Noisy timesteps are drawn more often, with density 1.5 √τ, as π0 does (Black et al. 2024, appendix B).

    Args:
        schedule: a config of `FlowMatchEulerDiscreteScheduler`.

    Raises:
        ValueError: it shifts the timesteps, so that they are not integers.
    """

    def __init__(self, schedule: Mapping[str, Any]):
        self.table = step_table(schedule)
        if self.table.timesteps.is_floating_point():
            raise ValueError(f"a flow is trained at whole timesteps, so that shift must be 1, not {schedule['shift']}")

    def draw(self, size: int, generator: torch.Generator) -> Tensor:
        time = torch.rand(size, generator=generator) ** (2 / 3)
        return (time * self.table.steps).long().clamp(max=self.table.steps - 1) + 1

    def noised(self, clean: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
        time = (timestep / self.table.steps).reshape(-1, *[1] * (clean.ndim - 1))
        return (1 - time) * clean + time * noise

    def target(self, clean: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
        return noise - clean
