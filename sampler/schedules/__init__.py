"""From diffusers scheduler configs to step tables, by what a network was trained for.

diffusion.py     DDPM, DDIM, DPM-Solver++
consistency.py   multistep consistency sampling of a distilled network (diffusers' LCMScheduler)
flow.py          Euler's steps along a flow (diffusers' FlowMatchEulerDiscreteScheduler)

A config is first read as its own class reads it (described.py), and then converted to a table's settings (reading.py,
settings.py).
"""

from collections.abc import Callable, Sequence
from typing import Any

from paradp.sampler.schedules.consistency import consistency_table
from paradp.sampler.schedules.described import KINDS, Described, Scheduler
from paradp.sampler.schedules.diffusion import ddim_table, ddpm_table, dpm_solver_table
from paradp.sampler.schedules.flow import flow_table
from paradp.sampler.schedules.settings import (
    ConsistencySettings,
    DDIMSettings,
    DDPMSettings,
    DPMSolverSettings,
    FlowSettings,
    SchedulerSettings,
)
from paradp.sampler.table import StepTable

_TABLES: dict[type[SchedulerSettings], Callable[..., StepTable]] = {
    DDPMSettings: ddpm_table,
    DDIMSettings: ddim_table,
    DPMSolverSettings: dpm_solver_table,
    ConsistencySettings: consistency_table,
    FlowSettings: flow_table,
}


def step_table(
    scheduler: Scheduler, steps: int | None = None, timesteps: Sequence[float] | None = None, **options: Any
) -> StepTable:
    """The table of a diffusers scheduler, in float64 on the CPU.

    Args:
        scheduler: a `DDPMScheduler`, `DDIMScheduler`, `DPMSolverMultistepScheduler`, `LCMScheduler` or
            `FlowMatchEulerDiscreteScheduler` of diffusers, its config (`scheduler.config`), or the dictionary that
            `scheduler_config.json` holds.
        steps: T, on the config's own spacing. Unless given: those that the scheduler was set to by its `set_timesteps`, else
            all of the schedule's training steps.
        timesteps: the grid itself, decreasing, instead of `steps`; of a flow any numbers N τ.
        options: `spacing`, another `timestep_spacing` than the config's; for DDIM `eta` and `clipped_epsilon`, see
            `ddim_table`; for DPM-Solver `clip` and `eta`, see `dpm_solver_table`; for a flow `sigmas`, see `flow_table`.

    Raises:
        ValueError: the scheduler or one of its settings is not supported, malformed or unknown, or the timesteps are not a
            decreasing grid inside the schedule; the message names the setting or the step.
    """
    described = Described.of(scheduler)
    grid = {"timesteps": timesteps} if steps is not None or timesteps is not None else described.grid
    return _TABLES[KINDS[described.kind]](described, steps, **(grid | options))
