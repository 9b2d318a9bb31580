"""How good a guess at the network's predictions can be: rounds of speculative sampling by draft, and what bounds them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from paradp.checkpoints import checkpoint_digest, find_checkpoint, load_policy, read_draft, read_draft_info, write_draft
from paradp.checkpoints.drafts import DOCUMENT
from paradp.policy import DiffusionPolicy
from paradp.policy.learning.draft import train_draft
from paradp.policy.networks.draft import DraftNetwork, draft_cost, network_cost
from paradp.rollouts.expert_histories import expert_histories
from paradp.sampler import NoisePath, SamplerChoice, Speculative
from paradp.sampler.rounds.torch.drafts import Guess, Guesses, Recalled, corrected
from paradp.sampler.rounds.torch.speculative import Speculation
from paradp.sampler.rounds.windows import Window
from paradp.scripts.canvas import legend_below, panels, save
from paradp.scripts.console import each
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.published import Page
from paradp.scripts.studies.registry import drawing, study

OBSERVATIONS, SEED = 64, 960_000
# Of the trajectories that the Kalman draft is fitted to, and of the observations that a draft is trained on.
FITTED, FITTED_SEED = 512, 3_000_000
TRAINING_SECONDS, TRAINED_ON = 300.0, 2000
SAMPLERS = (
    "speculative-ddpm:window=8",
    "speculative-ddpm:window=20",
    "speculative-ddpm:window=50",
    "speculative-ddpm:ahead=30:window=100",
    "speculative-ddpm-25:window=8",
)
BOUNDED = SAMPLERS[1:3]  # with which the oracle is run, which takes as long as all others together
FROZEN, PICARD, SECANT, KALMAN = "frozen", "picard", "secant", "Kalman"
JACOBIAN, GUESSED, TRAINED = "network's Jacobian", "secant, first guess trained", "trained"
DRAFTS = (FROZEN, PICARD, SECANT, KALMAN, JACOBIAN, GUESSED, TRAINED)
HEADER = ["sampler", "draft", "rounds", "± 95 %", "most", "evaluations", "± 95 % of those", "rounds ÷ secant's"]
TENTHS = [f"{10 * i}–{10 * i + 9}" for i in range(10)]


@dataclass(frozen=True)
class Cost:
    """What the plans of all observations cost.

    Attributes:
        rounds, evaluations: `[n]`.
        rejections: `[T]`, of each step, a plan.
    """

    rounds: np.ndarray
    evaluations: np.ndarray
    rejections: np.ndarray


class Followed(Guesses):
    """Guesses that follow their state by a matrix which a function gives for each window."""

    def __init__(self, guesses: Guesses, solver: Speculative, like: Tensor, follows: "Callable[[Window, Recalled], Guess]"):
        super().__init__(solver.table.to(like.device, like.dtype), solver.gain, solver.draft, like)
        self._follows = follows

    def guesses_at(self, window: Window, recalled: Recalled) -> Guess:
        return corrected(self.levels, window.step, recalled, self._follows(window, recalled))


class Experiment:
    """One policy, some observations and their noise, the same for every draft."""

    def __init__(self, policy: DiffusionPolicy, draft: DraftNetwork):
        self.policy, self.draft = policy, draft
        self.raw = policy.condition(expert_histories(policy.spec, OBSERVATIONS, SEED))
        self.condition = policy.engine.encode(self.raw)
        self.shape = (policy.spec.horizons.predict, policy.spec.action_size)
        self._fitted: dict[int, Tensor] = {}

    @torch.no_grad()
    def cost(self, sampler: str, name: str) -> Cost:
        """What a sampler's plans cost with one kind of draft."""
        chosen = {FROZEN: "frozen", PICARD: "picard", TRAINED: "trained"}.get(name, "secant")
        choice = SamplerChoice.parse(f"{sampler}:draft={chosen}")
        solver = choice.build(self.policy.spec.schedule, self.draft if name == TRAINED else None)
        assert isinstance(solver, Speculative)
        if name == FROZEN:
            solver = replace(solver, gain=0.0)
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
        rejections[-1] = 0  # without noise, nothing is drafted there
        return Cost(run.rounds.numpy(), run.evaluations.numpy(), rejections)

    def _noise(self, count: int, steps: int, seed: int) -> NoisePath:
        return NoisePath.draw([torch.Generator().manual_seed(seed + i) for i in range(count)], steps, self.shape)

    def _jacobian(self, solver: Speculative) -> Callable[[Window, Recalled], Guess]:
        """The oracle: the policy's own Jacobian where what is held was made, which by Tweedie's formula is the covariance.

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
        """One matrix a step, the mean posterior covariance, fitted to sequential trajectories."""
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


@study
def study_drafts(context: Context) -> None:
    """Writes TASK-drafts.md and its picture."""
    path = find_checkpoint(context.task)
    policy, digest = load_policy(context.task, "ddpm"), checkpoint_digest(path)
    if not (path / DOCUMENT).exists():
        histories = expert_histories(policy.spec, TRAINED_ON, FITTED_SEED, 5)
        write_draft(*train_draft(policy, histories, TRAINING_SECONDS), path, digest)
    draft, training = read_draft(path, policy.spec, digest), read_draft_info(path, digest).training
    experiment = Experiment(policy, draft)
    costs = {
        (sampler, name): experiment.cost(sampler, name)
        for sampler in each(f"{context.task}, samplers", SAMPLERS)
        for name in DRAFTS
        if name != JACOBIAN or sampler in BOUNDED
    }
    rows = [
        [f"`{sampler}`", name, *_cells(cost), f"{cost.rounds.mean() / costs[sampler, SECANT].rounds.mean():.2f}"]
        for (sampler, name), cost in costs.items()
    ]
    wide = SAMPLERS[2]
    rejections = [[name, *_along(costs[wide, name].rejections)] for name in DRAFTS]
    share = draft_cost(policy.spec, draft.config) / network_cost(policy.spec)
    body = f"""
The shipped {context.task} policy, {OBSERVATIONS} observations along the scripted expert's episodes from seed {SEED}, each
with the same noise for all drafts, and no plan before to begin from. Every sampler has exactly the distribution of its
sequential one, whatever the draft. The network was computed by the {policy.engine.name} engine in {policy.engine.precision}.

- **frozen**, **picard**, **secant**: as in [the proof](../exactness.md); secant is the default.
- **Kalman**: a matrix for each step, the mean posterior covariance, fitted to {FITTED} sequential trajectories; with the
  secant.
- **network's Jacobian**: the oracle for corrections that are linear in the state: the policy's own Jacobian where what is
  held was made, with the secant. It costs as much as the network at every drafted state.
- **secant, first guess trained**: the secant draft, begun from the trained draft's first guess.
- **trained**: a correction of rank {draft.config.rank} whose gains a small network computes from what is held, and its first
  guess. {draft_cost(policy.spec, draft.config):,} multiply-adds a row, {share:.1%} of the policy's network, trained on
  {training.plans:,} plans of its own in {training.seconds / 60:.0f} minutes ({training.steps:,} steps of the optimiser).

{markdown_table(HEADER, rows)}

Rejections a plan at `{wide}`, by tenths of the trajectory, from noise to data. A plan needs one round and one more for each
rejection, and one for each whole window.

{markdown_table(["draft", *TENTHS, "all"], rejections)}

![rounds by window, and rejections along the trajectory, for every draft]({context.task}-drafts.png)
"""
    page = context.out / f"{context.task}-drafts.md"
    write_report(page, f"{context.task}: drafts of speculative sampling", body)
    draw(page)


def _along(rejections: np.ndarray) -> list[str]:
    """By tenths of the trajectory, and all."""
    return [f"{one:.2f}" for one in (*rejections.reshape(10, -1).sum(1), rejections.sum())]


def _cells(cost: Cost) -> list[str]:
    return [
        f"{cost.rounds.mean():.2f}",
        f"{_interval(cost.rounds):.2f}",
        str(cost.rounds.max()),
        f"{cost.evaluations.mean():.0f}",
        f"{_interval(cost.evaluations):.0f}",
    ]


def _interval(values: np.ndarray) -> float:
    """Half of the mean's 95 % interval."""
    return float(1.96 * values.std(ddof=1) / len(values) ** 0.5)


_COLOURS = dict(zip(DRAFTS, ("0.7", "0.45", "tab:blue", "tab:green", "tab:red", "tab:cyan", "tab:orange"), strict=True))


@drawing()
def draw(path: Path) -> Figure:
    """Draws the picture of a page from its tables."""
    page = Page(path)
    rows, rejections = page.table(*HEADER), page.table("draft", *TENTHS, "all")
    figure, (left, right) = panels(2, 4.6)
    samplers = list(dict.fromkeys(row["sampler"] for row in rows))
    width = 0.8 / len(DRAFTS)
    for i, name in enumerate(DRAFTS):
        of = [row for row in rows if row["draft"] == name]
        place = [samplers.index(row["sampler"]) + (i - (len(DRAFTS) - 1) / 2) * width for row in of]
        rounds, errors = ([float(row[key]) for row in of] for key in ("rounds", "± 95 %"))
        left.bar(place, rounds, width, yerr=errors, color=_COLOURS[name], label=name, error_kw={"lw": 0.8})
        (along,) = (row for row in rejections if row["draft"] == name)
        right.plot(range(10), [float(along[tenth]) for tenth in TENTHS], "o-", color=_COLOURS[name], ms=3)
    short = [s.removeprefix("speculative-").replace(":", "\n") for s in samplers]
    left.set_xticks(range(len(samplers)), short, fontsize=7)
    left.set(ylabel="rounds a plan, mean and 95 %", title="rounds")
    right.set_xticks(range(10), TENTHS, rotation=45, fontsize=7)
    right.set(xlabel="step, from noise to data", ylabel="rejections a plan", title="where drafts are rejected, window 50")
    legend_below(figure)
    save(figure, path.with_suffix(".png"))
    return figure
