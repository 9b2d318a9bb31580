"""Baselines for benchmarks: the usual denoising loop, and ParaDiGMS as published."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from paradp.policy import Precision
from paradp.policy.networks.conditional import ConditionalNetwork
from paradp.sampler import Denoiser, Graphs, NoisePath, Solution, SolverStats, StepTable


class PlainNetwork:
    """The engine of the usual loop: the plain network, with no tables or encodings computed in advance."""

    name = "eager"
    precision: Precision = "fp32"
    graphs: Graphs | None = None

    def __init__(self, network: ConditionalNetwork):
        self._network = network

    def encode(self, condition: Tensor) -> Tensor:
        return condition

    def prepare(self, rows: Sequence[int]) -> None:
        """Does nothing: eager PyTorch does not compile."""

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return self._network(x, t, condition)


class UsualLoop:
    """The loop of LeRobot and Diffusion Policy: diffusers' scheduler steps over its timesteps."""

    window = 1

    def __init__(self, schedule: dict[str, Any], table: StepTable):
        self.table = table
        self._scheduler = DDPMScheduler.from_config(schedule)
        self._scheduler.set_timesteps(table.steps)

    @torch.no_grad()
    def solve(
        self,
        denoiser: Denoiser,
        condition: Tensor,
        noise: NoisePath,
        guess: Tensor | None = None,
        deadline: float = math.inf,
    ) -> Solution:
        """Draws samples; as usual, the scheduler draws the steps' noise."""
        x = noise.initial
        for t in self._scheduler.timesteps:
            x = self._scheduler.step(denoiser(x, t.expand(len(x)).to(x.device), condition), t, x).prev_sample
        return Solution(x, _stats(x, self.table.steps, self.table.steps))


@dataclass(frozen=True)
class PublishedParaDDPM:
    """ParaDDPM as its authors run it (arXiv 2305.16317, Algorithm 1): the whole batch shares one window.

    The window moves as far as the states of the slowest environment have converged, and the network evaluates it for all
    environments. Only the last two steps differ from the original, which divides by a variance of zero there and needs
    another round.
    """

    table: StepTable
    window: int = 20
    tolerance: float = 0.1

    @torch.no_grad()
    def solve(
        self,
        denoiser: Denoiser,
        condition: Tensor,
        noise: NoisePath,
        guess: Tensor | None = None,
        deadline: float = math.inf,
    ) -> Solution:
        table, x = self.table.to(noise.initial.device, noise.initial.dtype), noise.initial
        batch, steps, shape = len(x), table.steps, x.shape[1:]
        states = x.flatten(1).repeat(steps + 1, 1, 1)
        noises = noise.steps.flatten(2).transpose(0, 1)
        begin, rounds, evaluations = 0, 0, 0
        while begin < steps:
            window = torch.arange(begin, min(begin + self.window, steps), device=x.device)
            end, width = begin + len(window), len(window)
            block, coefficients = states[begin:end], table.at(window[:, None])
            t = table.timesteps[window].repeat_interleave(batch)
            prediction = denoiser(block.reshape(-1, *shape), t, condition.repeat(width, 1)).reshape(block.shape)
            pushed = coefficients.push(coefficients.clean(block, prediction), None, noises[begin:end])
            new = states[begin] + ((coefficients.a - 1) * block + pushed).cumsum(0)
            change = (new - states[begin + 1 : end + 1]).square().mean(2) / table.scale[window + 1, None] ** 2
            settled = (change.amax(1) <= self.tolerance**2).long().cumprod(0).sum()
            states[begin + 1 : end + 1] = new
            states[end + 1 :] = new[-1]
            rounds, evaluations = rounds + 1, evaluations + width
            begin += min(int(settled) + 1, width)
        sample = states[-1].reshape(x.shape)
        return Solution(sample, _stats(sample, rounds, evaluations))


def _stats(sample: Tensor, rounds: int, evaluations: int) -> SolverStats:
    each = torch.zeros(len(sample), dtype=torch.int64)
    return SolverStats(each + rounds, each + evaluations, torch.zeros(len(sample)), each, each - 1)
