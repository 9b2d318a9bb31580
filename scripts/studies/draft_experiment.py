"""Measures the cost of speculative sampling with each kind of draft, on the same observations and noise."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from paradp.policy import DiffusionPolicy
from paradp.policy.networks.draft import DraftNetwork
from paradp.rollouts.expert_histories import expert_histories
from paradp.sampler import NoisePath, SamplerChoice, Speculative
from paradp.sampler.rounds.torch.drafts import Guess, Guesses, Recalled, corrected
from paradp.sampler.rounds.torch.speculative import Speculation
from paradp.sampler.rounds.windows import Window

OBSERVATIONS, SEED = 64, 960_000
# Number of trajectories that the Kalman draft is fitted to, and first seed of these and of the draft's training.
FITTED, FITTED_SEED = 512, 3_000_000
FROZEN, PICARD, SECANT, KALMAN = "frozen", "picard", "secant", "Kalman"
JACOBIAN, GUESSED, TRAINED = "network's Jacobian", "secant, first guess trained", "trained"
DRAFTS = (FROZEN, PICARD, SECANT, KALMAN, JACOBIAN, GUESSED, TRAINED)


@dataclass(frozen=True)
class DraftCost:
    """The cost of the plans at n observations.

    Attributes:
        rounds, evaluations: `[n]`.
        rejections: `[T]`, mean number of rejections per plan at each step.
    """

    rounds: np.ndarray
    evaluations: np.ndarray
    rejections: np.ndarray


class Followed(Guesses):
    """Guesses corrected by a matrix, which a function returns for each window."""

    def __init__(self, guesses: Guesses, solver: Speculative, like: Tensor, follows: "Callable[[Window, Recalled], Guess]"):
        super().__init__(solver.table.to(like.device, like.dtype), solver.data_variance, solver.draft, like)
        self._follows = follows

    def guesses_at(self, window: Window, recalled: Recalled) -> Guess:
        return corrected(self.levels, window.step, recalled, self._follows(window, recalled))


class Experiment:
    """A policy with observations and noise that are the same for every draft."""

    def __init__(self, policy: DiffusionPolicy, draft: DraftNetwork):
        self.policy, self.draft = policy, draft
        self.raw = policy.condition(expert_histories(policy.spec, OBSERVATIONS, SEED))
        self.condition = policy.engine.encode(self.raw)
        self.shape = (policy.spec.horizons.predict, policy.spec.action_size)
        self._fitted: dict[int, Tensor] = {}

    @torch.no_grad()
    def cost(self, sampler: str, name: str) -> DraftCost:
        """The cost of a sampler's plans with one kind of draft."""
        chosen = {FROZEN: "frozen", PICARD: "picard", TRAINED: "trained"}.get(name, "secant")
        choice = SamplerChoice.parse(f"{sampler}:draft={chosen}")
        solver = choice.build(self.policy.spec.schedule, self.draft if name == TRAINED else None)
        assert isinstance(solver, Speculative)
        if name == FROZEN:
            solver = replace(solver, data_variance=0.0)
        noise = self._noise(OBSERVATIONS, solver.table.steps, SEED)
        run = Speculation(solver, self.policy.engine, self.condition, noise, whole=False)
        follows = {KALMAN: self._kalman, JACOBIAN: self._jacobian}.get(name)
        if follows is not None:
            run.guesses = Followed(run.guesses, solver, run.exact, follows(solver))
        guess = self.draft.first_guess(self.raw).unflatten(1, self.shape) if name in (GUESSED, TRAINED) else None
        run.load(self.condition, noise, guess)
        rejections = np.zeros(solver.table.steps)
        while not run.arrived():
            one = run.round()
            last = (one.moved - 1).clamp(min=0)
            rows = torch.arange(OBSERVATIONS)
            rejected = (one.drafts.following[rows, last] != run.exact).any(1) & (one.moved > 0)
            np.add.at(rejections, one.window.step[rows, last][rejected].numpy(), 1 / OBSERVATIONS)
        rejections[-1] = 0  # the last step adds no noise, so it has no draft
        return DraftCost(run.rounds.numpy(), run.evaluations.numpy(), rejections)

    def _noise(self, count: int, steps: int, seed: int) -> NoisePath:
        return NoisePath.draw([torch.Generator().manual_seed(seed + i) for i in range(count)], steps, self.shape)

    def _jacobian(self, solver: Speculative) -> Callable[[Window, Recalled], Guess]:
        """The oracle: the network's Jacobian at the state of the held prediction (Tweedie: a posterior covariance).

        It costs as much as the network itself, at every drafted state.
        """
        network, table = self.policy.network, solver.table.to(torch.device("cpu"), torch.float32)
        encoded = network.encode_condition(self.raw)

        def follows(window: Window, recalled: Recalled) -> Guess:
            def follow(i: int, innovation: Tensor) -> Tensor:
                source = recalled.source[:, i]
                known, source = (source < table.steps)[:, None], source.clamp(max=table.steps - 1)
                step, bar = table.at(source), table.alpha_bar[source][:, None]
                timestep = network.encode_timestep(table.timesteps[source])
                snr = (table.alpha_bar / (1 - table.alpha_bar))[window.step[:, i]][:, None]

                def clean(x: Tensor) -> Tensor:
                    return step.clean(x, network.denoise(x.unflatten(1, self.shape), timestep, encoded).flatten(1))

                along = innovation * (1 - bar) / bar.sqrt() * snr
                return torch.where(known, torch.func.jvp(clean, (recalled.made_at[:, i],), (along,))[1], 0)

            return follow

        return follows

    def _kalman(self, solver: Speculative) -> Callable[[Window, Recalled], Guess]:
        """One matrix for each step: the mean posterior covariance, fitted to sequential trajectories."""
        steps = solver.table.steps
        if steps not in self._fitted:
            self._fitted[steps] = self._fit(solver)
        matrices = self._fitted[steps]

        def follows(window: Window, recalled: Recalled) -> Guess:
            return lambda i, innovation: torch.bmm(innovation[:, None], matrices[window.step[:, i]])[:, 0]

        return follows

    def _fit(self, solver: Speculative) -> Tensor:
        """`[T, D, D]`, by ridge regression of predictions on innovations one and five steps later."""
        table = solver.table.to(torch.device("cpu"), torch.float32)
        raw = self.policy.condition(expert_histories(self.policy.spec, FITTED, FITTED_SEED, 5))
        condition = self.policy.engine.encode(raw)
        noise = self._noise(FITTED, table.steps, FITTED_SEED)
        x, states, cleans = noise.initial.flatten(1), [], []
        for k in range(table.steps):
            step = table.at(torch.full((FITTED,), k))
            t = table.timesteps[k].expand(FITTED)
            clean = step.clean(x, self.policy.engine(x.unflatten(1, self.shape), t, condition).flatten(1))
            states.append(x)
            cleans.append(clean)
            x = step.mean(x, clean, None) + step.sigma * noise.steps[:, k].flatten(1)
        bar = table.alpha_bar
        snr, by = bar / (1 - bar), bar.sqrt() / (1 - bar)
        size = x.shape[1]
        matrices = torch.zeros(table.steps, size, size)
        for j in range(1, table.steps):
            root, rows, wanted = snr[j].sqrt(), [], []
            for i in {j - 1, max(j - 5, 0)}:
                innovation = by[j] * states[j] - by[i] * states[i] - (snr[j] - snr[i]) * cleans[i]
                rows.append(innovation / root / (j - i) ** 0.5)
                wanted.append((cleans[j] - cleans[i]) * root / (j - i) ** 0.5)
            v, y = torch.cat(rows), torch.cat(wanted)
            gram = v.T @ v
            ridge = 0.3 * gram.diagonal().mean() * torch.eye(size)
            matrices[j] = torch.linalg.solve(gram + ridge, v.T @ y)
        return matrices
