"""Trajectories of DDIM from every timestep of a training, many at once: what a distilled policy learns from."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from paradp.sampler.schedules.described import Described, Scheduler
from paradp.sampler.schedules.diffusion import ddim_steps, ddim_table
from paradp.sampler.schedules.reading import read_settings
from paradp.sampler.schedules.settings import DDIMSettings
from paradp.sampler.table import StepTable


def ddim_trajectories(scheduler: Scheduler | Described, steps: int) -> list[StepTable]:
    """DDIM's steps from every timestep to the end of the trajectory, one table per step.

    The trajectory from timestep t visits t and the timesteps below t of a sine grid g of `steps` steps. Row t of table j
    takes it from min(t, g_j) to min(t, g_{j+1}), and the last table takes it to DDIM's end. Where both are t, the row
    changes nothing, but the network is still evaluated.

    Raises:
        ValueError: there are more steps than trained timesteps, or fewer than one.
    """
    settings = read_settings(DDIMSettings, scheduler)
    theirs = settings.build(DDIMScheduler, set_alpha_to_one=settings.set_alpha_to_one)
    # Index −1 is the end.
    bar = torch.cat([theirs.alphas_cumprod.double(), torch.tensor([float(theirs.final_alpha_cumprod)]).double()])
    every = torch.arange(settings.num_train_timesteps)
    tables = []
    for now, then in pairwise([*ddim_table(scheduler, steps, spacing="sine").timesteps.tolist(), -1]):
        begins, ends = every.clamp(max=now), every.clamp(max=then)
        step, stays = ddim_steps(settings, begins, bar[begins], bar[ends]), begins == ends
        a, c, r = step.a.masked_fill(stays, 1), step.c.masked_fill(stays, 0), step.r.masked_fill(stays, 0)
        tables.append(replace(step, a=a, c=c, r=r))
    return tables


def follow(
    tables: Sequence[StepTable],
    network: Callable[[Tensor, Tensor, Tensor], Tensor],
    x: Tensor,
    timestep: Tensor,
    condition: Tensor,
) -> Tensor:
    """The ends `[n, H, A]` of trajectories from chunks x `[n, H, A]` at timesteps `[n]`, with conditions `[n, G]`."""
    for table in tables:
        step, flat = table.at(timestep), x.flatten(1)
        clean = step.clean(flat, network(x, table.timesteps[timestep], condition).to(x.dtype).flatten(1))
        x = step.mean(flat, clean, None).reshape(x.shape)
    return x
