"""Does what Square shows hold elsewhere? Every task with weights: its expert, its data, its success, the cost of a plan."""

from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch

from paradp.checkpoints import find_checkpoint, load_policy, read_info
from paradp.checkpoints.cards import Trained, read_trainings
from paradp.envs import all_tasks
from paradp.policy import DiffusionPolicy, PolicySpec
from paradp.rollouts.comparison import Compared, Comparison, compare, interval
from paradp.rollouts.evaluation import cell_folder
from paradp.rollouts.statistics import Estimate, PairedLoss, bootstrap
from paradp.sampler import NoisePath
from paradp.scripts.paper_table import PAPER_SAMPLERS
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.bench import Bench
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.experts import FIGURES, ExpertFigures
from paradp.scripts.studies.observations import scattered_histories
from paradp.scripts.studies.turns import Ratio, time_in_turns

matplotlib.use("Agg")
import matplotlib.pyplot as plt

EXACT = "speculative-ddpm:window=8"
SAMPLERS = ("ddpm", "para-ddpm", EXACT)
# A window as wide as the trajectory comes last: there, every round but the last ends at a rejection.
WINDOWS = (2, 4, 8, 20, 100)
EPISODES, EACH, SEED = 32, 2, 20_000
REPEATS = 40
# Plans for one observation, which tell how much it leaves undecided.
PLANS = 16


@dataclass(frozen=True)
class Measured:
    """A task and its shipped policy.

    Attributes:
        expert: what the study of experts found.
        trainings: of the policy, the last first.
        evaluation: episodes of `SAMPLERS`, and of the paper's other ones where there are any.
        rounds: of the exact sampler without a first guess, for each of `WINDOWS`, over `EPISODES` of the expert.
        undecided: spread of plans for one observation, root mean square of a value in normalised units, likewise.
        chosen: what `auto` stands for.
        speed: sampler → how often its plan fits into that of sequential DDPM.
        sequential_ms: that of sequential DDPM, median.
    """

    spec: PolicySpec
    expert: ExpertFigures
    trainings: list[Trained]
    evaluation: Comparison
    rounds: list[Estimate]
    undecided: Estimate
    chosen: str
    speed: dict[str, Ratio]
    sequential_ms: float

    @property
    def exact(self) -> Compared:
        return next(run for run in self.evaluation.runs if run.label == EXACT)

    @property
    def rejections(self) -> Estimate:
        """Of a plan without a first guess."""
        widest = self.rounds[-1]
        return Estimate(widest.mean - 1, (widest.ci95[0] - 1, widest.ci95[1] - 1))


def study_tasks(context: Context) -> None:
    """Writes OUT/tasks.md and its picture, of the tasks evaluated in RUNS/TASK.

    Raises:
        ValueError: experts were not measured, nothing was evaluated, or an evaluation is of something else.
    """
    experts = _experts(context.out)
    evaluations = {task: _evaluation(context.runs / task, task) for task in all_tasks() if (context.runs / task).exists()}
    if not evaluations:
        raise ValueError(
            f"{context.runs} holds no evaluation of a task; make them with "
            f"`paradp evaluate TASK --samplers paper,{EXACT} --out {context.runs}/TASK`"
        )
    if unknown := evaluations.keys() - experts.keys():
        raise ValueError(f"{context.out}/experts.json does not tell of {min(unknown)}: run `paradp study experts` again")
    measured = {task: _measure(task, experts[task], evaluation) for task, evaluation in evaluations.items()}
    first = next(iter(measured.values())).exact.summary
    body = f"""
{_finding(measured)}

Where policies come from: experts over fresh episodes, and *shaken* with the noise that demonstrations are collected with
(see [experts](experts.md), also for the spread); networks trained on the experts' successes.

{markdown_table(_ORIGIN, [_origin(task, one) for task, one in measured.items()])}

What they do: {first.episodes} episodes a cell, seeds {first.seed} to {first.seed + first.episodes - 1}. *Lost*: paired,
to sequential DDPM on the same seeds, and *at most*: one-sided 95 % bound; reward: the mean of the episodes' best, and its
paired difference; rounds (95 %, over episodes) and evaluations: of all plans of the episodes, which have the last chunk as a
first guess.

{markdown_table(_OUTCOME, [row for task, one in measured.items() for row in _outcomes(task, one)])}

{_pooled(measured)}

What a plan costs one robot: {REPEATS} plans of each sampler in turns, without a first guess, each on an engine of its own,
engine and threads by default; median time of sequential DDPM over that of the sampler, with the middle half of the repeats.
`auto` is what the planner took here, of DDPM's own law.

{markdown_table(_SPEED, [_speed(task, one) for task, one in measured.items()])}

Why: rounds of the exact sampler without a first guess against its window, over {EACH} random moments of each of {EPISODES}
episodes of the expert (95 % over episodes). A window of 8 needs 13 rounds at least, whatever the task; with a window of 100
every round but the last ends at a rejection, so that rejections a plan compare tasks. *Undecided*: how far apart {PLANS}
plans of sequential DDPM for one observation are, root mean square of a value of the chunk, normalised units.

{markdown_table(_ROUNDS, [_rounds(task, one) for task, one in measured.items()])}

Policies differ in training as well as in task, and {len(measured)} tasks show a tendency and no law.

![rounds, rejections and speed by task](tasks.png)

ParaDiGMS' table for each task, and success against latency: {_links(context.out, measured)}.
"""
    write_report(context.out / "tasks.md", "Tasks: does what Square shows hold elsewhere?", body)
    _plot(measured, context.out / "tasks.png")


def _experts(out: Path) -> dict[str, ExpertFigures]:
    path = out / "experts.json"
    if not path.exists():
        raise ValueError(f"{path} is missing; make it with `paradp study experts --out {out}`")
    return FIGURES.validate_json(path.read_bytes())


def _evaluation(folder: Path, task: str) -> Comparison:
    """The cells of an evaluation of the shipped weights, in which simulation waits and nothing disturbs.

    Raises:
        ValueError: a cell is missing, or is of something else.
    """
    cells = {sampler: cell_folder(folder, sampler) for sampler in (*PAPER_SAMPLERS, EXACT)}
    there = {sampler: cell for sampler, cell in cells.items() if (cell / "summary.json").exists()}
    for sampler in SAMPLERS:
        if sampler not in there:
            raise ValueError(f"{folder} has no finished episodes of {sampler}")
    evaluation = compare(there)
    shipped = read_info(find_checkpoint(task)).model_sha256
    seeds = {(run.summary.seed, run.summary.episodes) for run in evaluation.runs}
    for run in evaluation.runs:
        s = run.summary
        if s.checkpoint["sha256"] != shipped:
            raise ValueError(f"{folder} evaluated other weights than those shipped for {task}")
        if (s.clock, s.disturbance, s.controller) != ("ideal", None, "sync") or len(seeds) > 1:
            raise ValueError(f"{folder}: the cell {run.label} is not of the same episodes, undisturbed and without a clock")
    return evaluation


def _measure(task: str, expert: ExpertFigures, evaluation: Comparison) -> Measured:
    planner = load_policy(task)
    assert planner.planned is not None
    eager = load_policy(task, "ddpm", engine="eager")
    bench = Bench(eager, histories=scattered_histories(eager.spec, EPISODES, EACH, SEED))
    policies = {name: load_policy(task, name) for name in SAMPLERS} | {"auto": planner}
    times = dict(zip(policies, time_in_turns(list(policies.values()), bench.histories, REPEATS), strict=True))
    return Measured(
        eager.spec,
        expert,
        read_trainings(find_checkpoint(task)),
        evaluation,
        [_over_episodes(bench.measure(f"speculative-ddpm:window={window}").rounds) for window in WINDOWS],
        _over_episodes(_undecided(eager, bench)),
        planner.planned.sampler,
        {name: Ratio.of(times["ddpm"], taken) for name, taken in times.items() if name != "ddpm"},
        float(np.median(times["ddpm"])),
    )


def _over_episodes(values: np.ndarray) -> Estimate:
    """Of values `[EPISODES · EACH]`: moments of one episode are not independent, episodes are."""
    return bootstrap(list(values.reshape(-1, EACH).mean(1)))


def _undecided(policy: DiffusionPolicy, bench: Bench) -> np.ndarray:
    """For each observation the spread of plans."""
    shape = (policy.spec.horizons.predict, policy.spec.action_size)
    spreads = []
    for i, condition in enumerate(bench.condition):
        generators = [torch.Generator().manual_seed(PLANS * i + plan) for plan in range(PLANS)]
        noise = NoisePath.draw(generators, policy.solver.table.steps, shape)
        chunks = policy.solver.solve(policy.engine, condition.expand(PLANS, -1), noise).sample
        spreads.append(float(chunks.var(0).mean().sqrt()))
    return np.array(spreads)


_ORIGIN = ["task", "expert (95 %)", "shaken", "spread", "of a way of", "demonstrations", "network", "training"]


def _origin(task: str, one: Measured) -> list[str]:
    expert = one.expert
    return [
        task,
        expert.calm.cells()[0],
        expert.shaken.cells()[0],
        f"{expert.spread:.1f} {expert.unit}",
        f"{expert.way:.0f} {expert.unit}",
        ", then ".join(f"{trained.episodes} ({trained.control_steps} steps)" for trained in one.trainings[::-1]),
        one.spec.network.describe(),
        ", then ".join(trained.describe() for trained in one.trainings[::-1]),
    ]


_OUTCOME = ["task", "sampler", "success (95 %)", "lost, paired (95 %)", "at most", "reward (95 %)", "more, paired",
            "rounds", "evaluations"]  # fmt: skip


def _outcomes(task: str, one: Measured) -> list[list[str]]:
    return [[task, *_outcome(run)] for run in one.evaluation.runs]


def _outcome(run: Compared) -> list[str]:
    s, loss = run.summary, run.loss
    return [
        f"`{run.label}`",
        interval(s.success),
        f"{loss.loss:+.3f} ({loss.ci95[0]:+.3f} to {loss.ci95[1]:+.3f})" if loss else "baseline",
        f"{loss.upper95:+.3f}" if loss else "",
        interval(s.reward),
        interval(run.differences["reward"]) if loss else "",
        interval(bootstrap(list(run.episodes["rounds_mean"])), 1),
        f"{s.solver.evaluations_mean:.0f}",
    ]


_SPEED = ["task", "ddpm, ms", "para-ddpm", f"`{EXACT}`", "auto", "which is"]


def _speed(task: str, one: Measured) -> list[str]:
    ratios = [f"{r.median:.2f} × ({r.low:.2f}–{r.high:.2f})" for r in one.speed.values()]
    return [task, f"{one.sequential_ms:.1f}", *ratios, f"`{one.chosen}`"]


_ROUNDS = ["task", "rejections (95 %)", *(f"window {window}" for window in WINDOWS), "undecided (95 %)", "values in a chunk"]


def _rounds(task: str, one: Measured) -> list[str]:
    return [
        task,
        interval(one.rejections, 1),
        *(f"{estimate.mean:.1f}" for estimate in one.rounds),
        interval(one.undecided),
        str(one.spec.horizons.predict * one.spec.action_size),
    ]


def _finding(measured: dict[str, Measured]) -> str:
    """What the exact sampler does, task by task."""
    told = [
        f"{task} {one.exact.summary.solver.rounds_mean:.1f} rounds, {one.speed['auto'].median:.2f} ×"
        for task, one in measured.items()
    ]
    return (
        f"**Rounds that the exact sampler (window 8) takes instead of 100 in the episodes, and how many times as fast as"
        f" sequential DDPM `auto` is on the same engine: {'; '.join(told)}.**"
    )


def _pooled(measured: dict[str, Measured]) -> str:
    """The exact sampler's losses over all tasks together."""
    losses = [one.exact.loss for one in measured.values() if one.exact.loss is not None]
    pooled = PairedLoss(*(sum(getattr(loss, name) for loss in losses) for name in ("pairs", "lost", "won")))
    low, high = pooled.ci95
    return (
        f"Over all {pooled.pairs} pairs of all tasks the exact sampler loses {pooled.loss:+.4f} success ({low:+.4f} to"
        f" {high:+.4f}; at most {pooled.upper95:+.4f})."
    )


def _links(out: Path, measured: dict[str, Measured]) -> str:
    pages = [f"{task}-reward-vs-latency.md" for task in measured]
    return ", ".join(f"[{page.removesuffix('.md')}]({page})" for page in pages if (out / page).exists())


def _plot(measured: dict[str, Measured], path: Path) -> None:
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4.2), layout="constrained")
    for task, one in measured.items():
        left.plot(WINDOWS, [estimate.mean for estimate in one.rounds], "o-", label=task)
        undecided, rejections = one.undecided, one.rejections
        middle.errorbar(
            [undecided.mean],
            [rejections.mean],
            xerr=_bars([undecided]),
            yerr=_bars([rejections]),
            fmt="o",
            capsize=2,
            label=task,
        )
    left.set(xscale="log", xlabel="window", ylabel="rounds a plan, exact sampler, no first guess", ylim=(0, None))
    left.set_xticks(WINDOWS, [str(window) for window in WINDOWS])
    middle.set(xlabel="spread of plans for one observation", ylabel="rejections a plan", ylim=(0, None), xlim=(0, None))
    places = np.arange(len(measured))
    for i, name in enumerate(("para-ddpm", EXACT, "auto")):
        ratios = [one.speed[name] for one in measured.values()]
        bars = _bars([Estimate(r.median, (r.low, r.high)) for r in ratios])
        right.bar(places + 0.27 * (i - 1), [r.median for r in ratios], 0.25, yerr=bars, label=name, capsize=2)
    right.axhline(1, color="0.4", lw=0.8)
    right.set_xticks(places, list(measured))
    right.set(ylabel="times as fast as sequential DDPM, one robot")
    for axes in (left, middle, right):
        axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _bars(estimates: list[Estimate]) -> list[list[float]]:
    """How far intervals reach below and above, as matplotlib wants it."""
    return [[e.mean - e.ci95[0] for e in estimates], [e.ci95[1] - e.mean for e in estimates]]
