"""A replacement for LeRobot's `conditional_sample` that samples with one of our solvers."""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from paradp.bridges.wide_convolutions import WideConvolutions, has_wide_convolutions
from paradp.policy.choices import Precision
from paradp.policy.engines.timing import wait_for_results
from paradp.policy.inpainting import Inpainting
from paradp.sampler import Denoiser, Graphs, NoisePath, Solution, Solver, SolverStats, Status
from paradp.sampler.noise import noise_generator

_SEEDS = 2**62


class Network:
    """A network with the interface that solvers call: float32 outside, the dtype of its weights inside.

    Args:
        network: called as `network(sample, timestep, global_cond=…)`.
    """

    def __init__(self, network: nn.Module):
        self._network = network
        self._wide = has_wide_convolutions(network)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self._parameter.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return self._parameter.dtype

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Returns predictions for samples `[n, …]`, timesteps `[n]` and conditions `[n, C]`; C may be 0."""
        given = condition.to(self.dtype) if condition.shape[1] else None
        with WideConvolutions() if self._wide and self.device.type == "cpu" else nullcontext():
            prediction: Tensor = self._network(x.to(self.dtype), t, global_cond=given)
        return prediction.to(x.dtype)

    @property
    def _parameter(self) -> Tensor:
        return next(self._network.parameters())


class Chooser(Protocol):
    """Chooses a solver for each batch size."""

    def solver(self, denoiser: Denoiser, condition: Tensor, shape: tuple[int, ...]) -> Solver:
        """Returns the solver for conditions `[B, C]` and samples of that shape."""
        ...

    def took(self, rows: int, seconds: float) -> None:
        """Records the time of a call with B = `rows`."""
        ...


class Always:
    """Always chooses the same solver."""

    def __init__(self, solver: Solver):
        self._solver = solver

    def solver(self, denoiser: Denoiser, condition: Tensor, shape: tuple[int, ...]) -> Solver:
        return self._solver

    def took(self, rows: int, seconds: float) -> None:
        """Ignores the time."""


class _AsEngine:
    """A denoiser with the interface of an engine, for `Inpainting`."""

    name = "eager"
    precision: Precision = "fp32"
    graphs: Graphs | None = None

    def __init__(self, denoiser: Denoiser):
        self._denoiser = denoiser

    def encode(self, condition: Tensor, /) -> Tensor:
        return condition

    def prepare(self, rows: Sequence[int]) -> None:
        """Does nothing: there is nothing to compile."""

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return self._denoiser(x, t, condition)


def _matching(
    denoiser: Denoiser, condition: Tensor, solver: Solver, known: tuple[Tensor, Tensor] | None
) -> tuple[Denoiser, Tensor]:
    """Returns the denoiser and conditions with which a solver draws samples that match their known parts."""
    if known is None:
        return denoiser, condition
    inpainting = Inpainting(_AsEngine(denoiser), solver.table)
    return inpainting, inpainting.encode(condition, *known)


class Sampling:
    """Replaces a function `conditional_sample`.

    Args:
        network: the denoising network.
        chooser: chooses the solver.
        shape: shape of one sample.
        replaced: the function that the object itself had instead, if it was not its class's.

    Attributes:
        solver: the solver of the last call; `None` before the first.
        stats: statistics of the last call, one row for each sample; `None` before the first.
    """

    def __init__(
        self, network: Network, chooser: Chooser, shape: tuple[int, ...], replaced: Callable[..., Any] | None = None
    ):
        self._network, self._chooser, self._shape, self.replaced = network, chooser, shape, replaced
        self.solver: Solver | None = None
        self.stats: SolverStats | None = None

    def __call__(
        self,
        batch_size: int,
        global_cond: Tensor | None = None,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
        known: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Draws samples `[B, …]` with the weights' dtype, on their device.

        Args:
            batch_size: B.
            global_cond: conditions `[B, C]`, if the network has any.
            generator: source of all random numbers; by default torch's global one.
            noise: the starting noise `[B, …]`; by default it is drawn.
            known: chunks `[B, H, A]` to match, and weights `[B, H]` of their steps, see `Inpainting`.

        Raises:
            ValueError: the network's predictions are not finite, or the noise has another shape.
        """
        network, kind = self._network, self._network.device.type
        given = torch.zeros(batch_size, 0, device=network.device) if global_cond is None else global_cond.float()
        mixed, type_of_mixed = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)

        def denoiser(x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
            with torch.autocast(kind, type_of_mixed, enabled=mixed):
                return network(x, t, condition)

        # Solvers keep inference tensors between calls, so they always run in inference mode, whatever the caller's mode.
        # The caller's autocast applies to the network, but not to the rounds of the solver.
        with torch.inference_mode(), torch.autocast(kind, enabled=False):
            self.solver = self._chooser.solver(denoiser, given, self._shape)
            path = self._draw(batch_size, self.solver.table.steps, generator, noise)
            solution = self._solve(self.solver, *_matching(denoiser, given, self.solver, known), path)
            sample = solution.sample.to(network.dtype)
        self.stats = solution.stats
        if (solution.stats.status == Status.NOT_FINITE).any():
            raise ValueError("the network's predictions are not finite")
        return sample.clone()  # a normal tensor, not an inference tensor

    def _solve(self, solver: Solver, denoiser: Denoiser, condition: Tensor, path: NoisePath) -> Solution:
        started = time.perf_counter()
        solution = solver.solve(denoiser, condition, path)
        wait_for_results(self._network.device)
        self._chooser.took(len(condition), time.perf_counter() - started)
        return solution

    def _draw(self, batch: int, steps: int, generator: torch.Generator | None, noise: Tensor | None) -> NoisePath:
        """Draws the noise of each sample from a separate generator, seeded from the caller's."""
        device = "cpu" if generator is None else generator.device
        seeds = torch.randint(_SEEDS, (batch,), generator=generator, device=device).tolist()
        path = NoisePath.draw([noise_generator(seed) for seed in seeds], steps, self._shape, self._network.device)
        if noise is None:
            return path
        if tuple(noise.shape) != (batch, *self._shape):
            raise ValueError(f"the noise has shape {tuple(noise.shape)}, {batch} samples have {(batch, *self._shape)}")
        return NoisePath(noise.float(), path.steps, path.uniforms)
