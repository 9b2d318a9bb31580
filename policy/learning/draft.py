"""Trains a draft on its own rounds: alternates sampling with the draft, and learning from the network's predictions."""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, fields
from itertools import count

import torch
from torch import Tensor, nn

from paradp.policy.diffusion_policy import DiffusionPolicy
from paradp.policy.learning.ema import EMA
from paradp.policy.learning.transfer import send
from paradp.policy.networks.draft import DraftConfig, DraftNetwork, build_draft, draft_config
from paradp.policy.observations import Observation, how_many, take
from paradp.sampler import NoisePath, SamplerChoice, Speculative, rounds_of
from paradp.sampler.draft_model import Levels
from paradp.sampler.rounds.torch.drafts import Recalled, learned

# Samplers whose rounds are used in turn: narrow and wide windows, all steps and few.
SAMPLERS = (
    "speculative-ddpm:window=20:draft=trained",
    "speculative-ddpm:window=50:draft=trained",
    "speculative-ddpm:window=100:ahead=30:draft=trained",
    "speculative-ddpm-25:window=8:draft=trained",
)
_PLANS = 64  # plans per batch
_BATCH, _STEPS = 1024, 80  # optimiser steps after every 64 plans
_KEPT = 60_000  # rows of each table, at about 4 KB each
_FIRSTS = 256  # batches of plans whose first predictions are kept
_RATE = 4e-3
_WARM_UP = 0.03  # share of the time in which the learning rate grows
_LEAST_RATE = 0.1  # share of the rate in the first turn
_LONGEST = 1.0  # gradients are clipped to this norm


@dataclass(frozen=True)
class DraftTraining:
    """The result of a training.

    Attributes:
        plans: number of sampled plans.
        steps: number of optimiser steps.
        seconds: duration.
        rounds: rounds per plan with `SAMPLERS[1]`: of the last plans, and of the first ones, with the untrained draft.
    """

    plans: int
    steps: int
    seconds: float
    rounds: float
    rounds_before: float


@dataclass(frozen=True)
class Rows:
    """Decided steps, `[n, D]` each unless stated otherwise: the draft's inputs and the true predictions.

    Attributes:
        x, clean: the exact states, and the predictions there.
        held, made_at, moved, changed: as in `Recalled`.
        step, source: `[n]`, index of the step, and of the step at which the held prediction was made.
        own: `[n, 1]`, whether both are the same.
    """

    x: Tensor
    clean: Tensor
    held: Tensor
    made_at: Tensor
    moved: Tensor
    changed: Tensor
    step: Tensor
    source: Tensor
    own: Tensor

    def __getitem__(self, index: Tensor) -> "Rows":
        return Rows(*(getattr(self, field.name)[index] for field in fields(self)))

    def and_then(self, newer: "Rows") -> "Rows":
        """Appends rows, and keeps the newest `_KEPT`."""
        return Rows(*(torch.cat([getattr(self, f.name), getattr(newer, f.name)])[-_KEPT:] for f in fields(self)))


class DraftTable:
    """The rows of one table of steps, and the error of the draft's guesses there."""

    def __init__(self, solver: Speculative, device: torch.device):
        self._table = solver.table.to(device, torch.float32)
        self._levels = Levels(self._table)
        self._noisy = self._table.sigma > 0
        self._weight = (self._table.c / self._table.sigma)[:, None]
        self.rows: Rows | None = None

    def add(self, rows: Rows) -> None:
        """Adds rows, except those of steps without noise, which are not drafted."""
        rows = rows[self._noisy[rows.step]]
        self.rows = rows if self.rows is None else self.rows.and_then(rows)

    def loss(self, draft: DraftNetwork, size: int, generator: torch.Generator) -> Tensor:
        """The mean of ‖Δ‖ on a random batch; the probability of a rejection is nearly linear in it."""
        assert self.rows is not None
        batch = self.rows[send(torch.randint(len(self.rows.step), (size,), generator=generator), self.rows.step.device)]
        known = Recalled(
            *(part[:, None] for part in (batch.held, batch.made_at, batch.moved, batch.changed, batch.own, batch.source))
        )
        guess = learned(draft, self._levels, batch.step[:, None], known)(0, batch.x)
        apart = self._weight[batch.step] * (self._table.bound(guess) - self._table.bound(batch.clean))
        return (apart.square().sum(1) + 1e-4).sqrt().mean()


# Long: sampling and learning take turns, on the same drafts, tables and generators.
def train_draft(
    policy: DiffusionPolicy,
    histories: Observation,
    seconds: float,
    seed: int = 0,
    on_progress: Callable[[float, str], None] = lambda spent, note: None,
    config: DraftConfig | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[DraftNetwork, DraftTraining]:
    """Trains a draft for a policy within a time limit.

    Args:
        policy: the draft learns to guess its predictions; its solver is not used.
        histories: observations to plan from, `[N, To, …]` for each feature, for example those of the demonstrations.
        seconds: the time limit.
        seed: for weights, noise and batches. The number of plans depends on the speed of the machine.
        on_progress: called with the seconds spent and a message with the rounds per plan.
        config: sizes; by default the largest that `draft_config` allows.
        clock: returns the time in seconds.

    Raises:
        ValueError: the policy's network is too small, its schedule has no speculative form, or its predictions are not
            finite.
    """
    torch.manual_seed(seed)
    draft = build_draft(policy.spec, config or draft_config(policy.spec)).to(policy.device)
    average = EMA(draft, max_decay=0.995)
    solvers = [_speculative(name, policy, average.network) for name in SAMPLERS]
    sampling = _Sampling(policy, histories, seed)
    tables: dict[int, DraftTable] = {}
    for solver in solvers:
        tables.setdefault(solver.table.steps, DraftTable(solver, policy.device))
    _set_levels(draft, average.network, solvers[0])
    optimiser = torch.optim.AdamW(draft.parameters(), lr=_RATE, betas=(0.9, 0.99), weight_decay=1e-4)
    generator, started = torch.Generator().manual_seed(seed), clock()
    rounds: list[float] = []
    # Each sampler runs with a first guess, and then with the resulting plans as guesses; at least once, even if time is up.
    turns = 2 * len(solvers)
    while (spent := clock() - started) < seconds or len(rounds) < turns:
        turn = len(rounds)
        solver = solvers[turn % turns // 2]
        rows, needed = sampling.rows(solver, average.network)
        tables[solver.table.steps].add(rows)
        rounds.append(needed)
        filled = [table for table in tables.values() if table.rows is not None]
        for group in optimiser.param_groups:
            group["lr"] = _RATE * _schedule(spent / seconds)
        for step in range(_STEPS):
            losses = (table.loss(draft, _BATCH // len(filled), generator) for table in filled)
            loss = sum(losses, sampling.first_loss(draft, generator))
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(draft.parameters(), _LONGEST)
            optimiser.step()
            average.update(draft, turn * _STEPS + step)
        wide = rounds[2::turns]
        on_progress(min(clock() - started, seconds), f"{wide[-1]:.1f} rounds a plan" if wide else "")
    if not all(bool(tensor.isfinite().all()) for tensor in average.network.state_dict().values()):
        raise ValueError("the draft's weights are not finite: the policy's predictions are not finite, or far too large")
    made = len(rounds)
    return average.network, DraftTraining(_PLANS * made, _STEPS * made, clock() - started, wide[-1], wide[0])


def _speculative(sampler: str, policy: DiffusionPolicy, draft: DraftNetwork) -> Speculative:
    solver = SamplerChoice.parse(sampler).build(policy.spec.schedule, draft)
    assert isinstance(solver, Speculative)
    return solver


def _schedule(share: float) -> float:
    """The learning rate as a share of its maximum, after a share of the time."""
    return min(1.0, _LEAST_RATE + share / _WARM_UP) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def _set_levels(draft: DraftNetwork, average: DraftNetwork, solver: Speculative) -> None:
    snr = Levels(solver.table).snr[:-1].clamp(min=1e-6).log()
    for network in (draft, average):
        network.levels.copy_(torch.stack([snr.min(), snr.max()]))


class _Sampling:
    """Plans at one observation after the other, twice at each: with the draft's first guess, then with the last plan."""

    def __init__(self, policy: DiffusionPolicy, histories: Observation, seed: int):
        self._policy, self._histories = policy, histories
        self._generator = torch.Generator().manual_seed(seed)
        self._noise_seeds = count(seed * 1_000_003)
        self._again: tuple[Tensor, Tensor] | None = None
        self._firsts: deque[tuple[Tensor, Tensor]] = deque(maxlen=_FIRSTS)

    @torch.no_grad()
    def rows(self, solver: Speculative, draft: DraftNetwork) -> tuple[Rows, float]:
        """Returns the decided steps of some plans, and the rounds per plan."""
        spec, engine = self._policy.spec, self._policy.engine
        shape = (spec.horizons.predict, spec.action_size)
        if self._again is None:
            drawn = torch.randint(how_many(self._histories), (_PLANS,), generator=self._generator)
            condition = self._policy.condition(take(self._histories, drawn.numpy()))
            guess = draft.first_guess(condition)
        else:
            condition, guess = self._again
        generators = [torch.Generator().manual_seed(next(self._noise_seeds)) for _ in range(_PLANS)]
        noise = NoisePath.draw(generators, solver.table.steps, shape, self._policy.device)
        found: list[Rows] = []
        last = torch.zeros_like(guess)
        rounds = torch.zeros(_PLANS)
        first = True
        for one in rounds_of(solver, engine, engine.encode(condition), noise, guess.unflatten(1, shape)):
            known, where = one.recalled, one.decided & one.window.inside
            parts = one.drafts.x, one.clean, known.held, known.made_at, known.moved, known.changed
            found.append(Rows(*(part[where] for part in (*parts, one.window.step, known.source, known.own))))
            if first:
                self._firsts.append((condition, one.clean[:, 0].clone()))  # not a view of the whole window
                first = False
            active = one.window.inside[:, 0]
            last[active] = one.clean[torch.arange(_PLANS), (one.moved - 1).clamp(min=0)][active]
            rounds += active.cpu()
        # The last prediction is the plan itself, because the last step uses nothing else.
        self._again = (condition, last) if self._again is None else None
        return _joined(found), float(rounds.mean())

    def first_loss(self, draft: DraftNetwork, generator: torch.Generator) -> Tensor:
        """The mean squared error between first guesses and the first predictions."""
        condition, clean = self._firsts[int(torch.randint(len(self._firsts), (), generator=generator))]
        return (draft.first_guess(condition) - clean.clamp(-1, 1)).square().mean()


def _joined(rows: list[Rows]) -> Rows:
    return Rows(*(torch.cat([getattr(one, field.name) for one in rows]) for field in fields(Rows)))
