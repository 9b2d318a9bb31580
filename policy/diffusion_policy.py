"""A trained diffusion policy: from observation histories to chunks of actions."""

import math
import time
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from paradp.policy.data.normalizer import Normalizer, ObservationNormalizer
from paradp.policy.engines.autotune.profile import Planned
from paradp.policy.engines.encoding import build_encoder
from paradp.policy.engines.engine import Engine
from paradp.policy.engines.pytorch import EagerEngine
from paradp.policy.engines.spread import devices_of
from paradp.policy.engines.timing import wait_for_results
from paradp.policy.errors import NotFinite
from paradp.policy.inpainting import Inpainting
from paradp.policy.networks.conditional import ConditionalNetwork
from paradp.policy.networks.draft import DraftNetwork
from paradp.policy.observations import Observation
from paradp.policy.plan_stats import PlanTiming
from paradp.policy.spec import PolicySpec
from paradp.sampler import Denoiser, NoisePath, Solution, Solver, SolverStats, Status


@dataclass(frozen=True)
class Plan:
    """Action chunks for B environments, planned together.

    Attributes:
        actions: `[B, H − To + 1, A]` float32, from the current control step on, in data units and within the action limits.
            The first Ta of them are meant to be executed.
        chunks: `[B, H, A]`, the whole chunks as sampled, in normalised units.
        stats: the solver's statistics for each environment. Do not select plans by `stats.converged`.
        timing: times of the plan.
    """

    actions: np.ndarray
    chunks: torch.Tensor
    stats: SolverStats
    timing: PlanTiming

    @property
    def seconds(self) -> float:
        """Seconds of the whole plan."""
        return self.timing.seconds


class DiffusionPolicy:
    """Plans action chunks by denoising (Chi et al., "Diffusion Policy", RSS 2023), with any solver.

    Args:
        spec: the policy's specification.
        network: predicts for noisy chunks `[n, H, A]`, timesteps `[n]`, conditions `[n, C]`.
        observation_normalizer, action_normalizer: fitted to the training data.
        solver: computes the denoising trajectory.
        device: where to compute; the first one if the engine uses several.
        engine: computes the network; eager PyTorch by default.
        planned: the result of autotuning, if the solver was chosen by it.

    Raises:
        ValueError: the solver visits timesteps that are not integers or beyond the policy's schedule, or the engine
            encodes images differently from PyTorch.
    """

    def __init__(
        self,
        spec: PolicySpec,
        network: ConditionalNetwork,
        observation_normalizer: ObservationNormalizer,
        action_normalizer: Normalizer,
        solver: Solver,
        device: str | torch.device = "cpu",
        engine: Engine | None = None,
        planned: Planned | None = None,
    ):
        self.spec = spec
        self.solver = _for_engines(solver, spec)
        self.planned = planned
        self.device = torch.device(device)
        self.network = network.to(self.device).eval().requires_grad_(False)
        self.engine = engine or EagerEngine(self.network, spec, self.device)
        self._encoder = build_encoder(self.network, spec, self.engine, self.device)
        self._observation_normalizer = observation_normalizer.to(self.device)
        self._action_normalizer = action_normalizer.to(self.device)
        self._low = np.array(spec.action_low, np.float32)
        self._high = np.array(spec.action_high, np.float32)

    @property
    def devices(self) -> tuple[torch.device, ...]:
        """All devices of the network. Everything else is computed on the first one, `device`."""
        return devices_of(self.engine, self.device)

    def with_solver(self, solver: Solver) -> "DiffusionPolicy":
        """The same policy on the same engine, with another solver.

        Raises:
            ValueError: as the class.
        """
        other = copy(self)
        other.solver, other.planned = _for_engines(solver, self.spec), None
        other.__dict__.pop("_inpainting", None)
        return other

    def with_engine(self, engine: Engine) -> "DiffusionPolicy":
        """The same policy with another engine of its network, on the same device.

        Raises:
            ValueError: as the class.
        """
        other = copy(self)
        other.engine, other._encoder = engine, build_encoder(self.network, self.spec, engine, self.device)
        other.__dict__.pop("_inpainting", None)
        return other

    def prepare(self, batch: int) -> None:
        """Compiles the engine for plans of up to `batch` environments, if it is a compiling one."""
        self.engine.prepare(range(1, batch * self.solver.window + 1))
        self._encoder.prepare(batch)

    @torch.no_grad()
    def plan(
        self,
        histories: Observation,
        generators: Sequence[torch.Generator],
        guesses: torch.Tensor | None = None,
        budget: float | None = None,
        keep: torch.Tensor | None = None,
        guessed: torch.Tensor | None = None,
    ) -> Plan:
        """Makes plans for B environments in one batch.

        Args:
            histories: the last To observations, oldest first: `[B, To, *shape]` for each feature, as returned by
                `read_observation`.
            generators: B CPU generators, one for the noise of each environment.
            guesses: `[B, H, A]`, first guesses at the chunks, in normalised units. They may make a solver faster, and do not
                change the distribution of plans. Without them a trained draft makes its own.
            keep: `[B, H]` from 0 to 1, the weight of the guess at each step of a chunk, see `Inpainting`; 0 by default.
            budget: time limit in seconds, after which the solver returns its current iterate. For the effect on the
                distribution of plans see `Solver.solve`.
            guessed: `[B]` on the CPU, whether a row of `guesses` is one; by default all are.

        Raises:
            NotFinite: a plan is not finite; the error has the rows.
        """
        started = time.perf_counter()
        noise = NoisePath.draw(generators, self.solver.table.steps, self._shape, self.device)
        observed = self.condition(histories)
        denoiser, condition = self._denoiser(observed, guesses, keep)
        guesses = self._with_own_guesses(observed, guesses, guessed)
        deadline = math.inf if budget is None else started + budget
        encoded = time.perf_counter()
        solution = self.solver.solve(denoiser, condition, noise, guesses, deadline)
        wait_for_results(self.device)
        denoised = time.perf_counter()
        actions = self._actions(solution)
        timing = PlanTiming.of_stages(encoded - started, denoised - encoded, time.perf_counter() - denoised)
        return Plan(actions, solution.sample, solution.stats, timing)

    @property
    def _shape(self) -> tuple[int, int]:
        """The shape of a chunk."""
        return self.spec.horizons.predict, self.spec.action_size

    def _with_own_guesses(
        self, observed: torch.Tensor, guesses: torch.Tensor | None, guessed: torch.Tensor | None
    ) -> torch.Tensor | None:
        """The guesses, with those of a trained draft for robots that have none."""
        draft = getattr(self.solver, "model", None)
        given = guesses is not None and (guessed is None or bool(guessed.all()))
        if given or not isinstance(draft, DraftNetwork):
            return guesses
        own: torch.Tensor = draft.first_guess(observed).unflatten(1, self._shape)
        if guesses is None or guessed is None:
            return own
        return torch.where(guessed.to(own.device)[:, None, None], guesses, own)

    def _denoiser(
        self, condition: torch.Tensor, guesses: torch.Tensor | None, keep: torch.Tensor | None
    ) -> tuple[Denoiser, torch.Tensor]:
        """The denoiser for the solver, and the encoded conditions."""
        if keep is None or guesses is None:
            return self.engine, self.engine.encode(condition)
        return self._inpainting, self._inpainting.encode(condition, guesses, keep.to(self.device))

    def _actions(self, solution: Solution) -> np.ndarray:
        """The actions of a sample, `[B, H − To + 1, A]`, in data units and within the limits.

        Raises:
            NotFinite: some are not finite.
        """
        chunk = self._action_normalizer.denormalize(solution.sample).cpu().numpy()
        actions: np.ndarray = np.clip(chunk[:, self.spec.horizons.observe - 1 :], self._low, self._high)
        # Clipping may hide predictions that are not finite, so the solver's status is checked, too.
        broken = (solution.stats.status == Status.NOT_FINITE).cpu().numpy() | ~np.isfinite(actions).all((1, 2))
        if broken.any():
            raise self._not_finite(broken.nonzero()[0].tolist(), solution.stats)
        return actions

    @cached_property
    def _inpainting(self) -> Inpainting:
        return Inpainting(self.engine, self.solver.table)

    def _not_finite(self, rows: list[int], stats: SolverStats) -> NotFinite:
        """An error with the environments that have no plan, and the first step that is not finite."""
        step = min((step for step in stats.broken[rows].tolist() if step >= 0), default=-1)
        where = f", from denoising step {step} (timestep {int(self.solver.table.timesteps[step])}) on" if step >= 0 else ""
        return NotFinite(f"the network's predictions are not finite for environments {rows} of the batch{where}", rows)

    @torch.no_grad()
    def condition(self, histories: Observation) -> torch.Tensor:
        """The encoded observations `[B, C]`, computed once per plan."""
        observed = {key: torch.from_numpy(values).to(self.device) for key, values in histories.items()}
        condition = self._encoder(self._observation_normalizer.normalize(observed))
        if self.network.vision is not None:
            wait_for_results(self.device)  # so that its time is known apart from the denoising's
        return condition


def _for_engines(solver: Solver, spec: PolicySpec) -> Solver:
    """Checks a solver's timesteps: engines tabulate the encodings of all timesteps of the policy's schedule.

    Raises:
        ValueError: a timestep is not an integer, or beyond the policy's schedule.
    """
    timesteps, known = solver.table.timesteps, spec.timesteps
    if timesteps.is_floating_point():
        step = int((timesteps != timesteps.round()).int().argmax())
        raise ValueError(
            f"step {step} is at timestep {timesteps[step].item():g}, and engines of policies support integer timesteps only:"
            " name a grid of integers (flow-N:timesteps=…), or give the policy a schedule whose shift is 1"
        )
    if timesteps.min() < 0 or timesteps.max() >= known:
        raise ValueError(
            f"the solver visits timesteps {int(timesteps.min())} to {int(timesteps.max())}, but the policy has"
            f" 0 to {known - 1}: build the solver for the policy's own schedule (SamplerChoice.build(policy.spec.schedule))"
        )
    return solver
