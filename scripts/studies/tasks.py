"""Does what Square shows hold elsewhere? Every task with weights: its expert, its data, its success, the cost of a plan."""

from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np

from paradp.checkpoints import find_checkpoint, load_policy, read_info
from paradp.checkpoints.cards import CardFacts, read_facts
from paradp.envs import all_tasks
from paradp.policy import PolicySpec
from paradp.rollouts.comparison import Compared, Comparison, compare, interval
from paradp.rollouts.evaluation import cell_folder
from paradp.sampler import SamplerChoice
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.bench import Bench
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.experts import FIGURES, ExpertFigures
from paradp.scripts.studies.turns import Ratio, time_in_turns

matplotlib.use("Agg")
import matplotlib.pyplot as plt

EXACT = "speculative-ddpm:window=8"
SAMPLERS = ("ddpm", "para-ddpm", EXACT)
WINDOWS = (2, 4, 8, 20, 50)
REPEATS = 40
OBSERVATIONS = 64


@dataclass(frozen=True)
class Measured:
    """A task and its shipped policy.

    Attributes:
        expert: what the study of experts found.
        facts: what the model card says.
        evaluation: episodes of `SAMPLERS`.
        rounds: of the exact sampler, for each of `WINDOWS`, a mean over plans.
        chosen: what `auto` stands for.
        speed: sampler → how often its plan fits into that of sequential DDPM.
        sequential_ms: that of sequential DDPM, median.
    """

    spec: PolicySpec
    expert: ExpertFigures
    facts: CardFacts
    evaluation: Comparison
    rounds: list[float]
    chosen: str
    speed: dict[str, Ratio]
    sequential_ms: float

    @property
    def exact(self) -> Compared:
        return self.evaluation.runs[SAMPLERS.index(EXACT)]


def study_tasks(context: Context) -> None:
    """Writes OUT/tasks.md and its picture, of the tasks evaluated in RUNS/TASK."""
    experts = FIGURES.validate_json(_experts(context.out).read_bytes())
    evaluations = {task: _evaluation(context.runs / task, task) for task in all_tasks() if (context.runs / task).exists()}
    if not evaluations:
        raise ValueError(
            f"{context.runs} holds no evaluation of a task; make them with "
            f"`paradp evaluate TASK --samplers {','.join(SAMPLERS)} --out {context.runs}/TASK`"
        )
    measured = {task: _measure(task, experts[task], evaluation) for task, evaluation in evaluations.items()}
    body = f"""
{_finding(measured)}

Where policies come from: experts over 50 fresh episodes, and *shaken* with the noise that demonstrations are collected with
(see [experts](experts.md), also for the spread); 1-D U-Nets with channels 64-128-256, trained on the experts' successes.

{markdown_table(_ORIGIN, [_origin(task, one) for task, one in measured.items()])}

What they do: {_episodes(measured)} on the same seeds for every sampler. *Lost*: paired, to sequential DDPM, and *at most*:
one-sided 95 % bound; reward: the mean of the episodes' best; rounds and evaluations: means over all plans of the episodes.

{markdown_table(_OUTCOME, [row for task, one in measured.items() for row in _outcomes(task, one)])}

What a plan costs one robot: {REPEATS} plans of each sampler in turns, engine and threads by default, medians of the time of
sequential DDPM over that of the sampler, with the middle half of the repeats. `auto` is what the planner took here, of
DDPM's own law.

{markdown_table(_SPEED, [_speed(task, one) for task, one in measured.items()])}

Rounds of the exact sampler against its window ({OBSERVATIONS} observations along the expert's episodes), and
over all plans of the episodes with window 8:

{markdown_table(_ROUNDS, [_rounds(task, one) for task, one in measured.items()])}

![rounds and speed by task](tasks.png)

ParaDiGMS' table for each task, and success against latency: {_links(context.out, measured)}.
"""
    write_report(context.out / "tasks.md", "Tasks: does what Square shows hold elsewhere?", body)
    _plot(measured, context.out / "tasks.png")


def _experts(out: Path) -> Path:
    path = out / "experts.json"
    if not path.exists():
        raise ValueError(f"{path} is missing; make it with `paradp study experts --out {out}`")
    return path


def _evaluation(folder: Path, task: str) -> Comparison:
    """The cells of an evaluation, made with the shipped weights.

    Raises:
        ValueError: cells are missing, or other weights were evaluated.
    """
    cells = {sampler: cell_folder(folder, sampler) for sampler in SAMPLERS}
    for sampler, cell in cells.items():
        if not (cell / "summary.json").exists():
            raise ValueError(f"{folder} has no finished episodes of {sampler}")
    evaluation = compare(cells)
    shipped = read_info(find_checkpoint(task)).model_sha256
    for run in evaluation.runs:
        if run.summary.checkpoint["sha256"] != shipped:
            raise ValueError(f"{folder} evaluated other weights than those shipped for {task}")
    return evaluation


def _measure(task: str, expert: ExpertFigures, evaluation: Comparison) -> Measured:
    policy = load_policy(task)
    assert policy.planned is not None
    solvers = {name: SamplerChoice.parse(name).build(policy.spec.schedule) for name in SAMPLERS} | {"auto": policy.solver}
    bench = Bench(policy, OBSERVATIONS)
    times = dict(zip(solvers, time_in_turns(policy, list(solvers.values()), bench.histories, REPEATS), strict=True))
    return Measured(
        policy.spec,
        expert,
        read_facts(find_checkpoint(task)),
        evaluation,
        [float(bench.measure(f"speculative-ddpm:window={window}").rounds.mean()) for window in WINDOWS],
        policy.planned.sampler,
        {name: Ratio.of(times["ddpm"], taken) for name, taken in times.items() if name != "ddpm"},
        float(np.median(times["ddpm"])),
    )


_ORIGIN = ["task", "expert (95 %)", "shaken", "spread", "of a way of", "demonstrations", "control steps", "training"]


def _origin(task: str, one: Measured) -> list[str]:
    expert, facts = one.expert, one.facts
    return [
        task,
        expert.calm.cells()[0],
        expert.shaken.cells()[0],
        f"{expert.spread:.1f} {expert.unit}",
        f"{expert.way:.0f} {expert.unit}",
        f"{facts.episodes}",
        f"{facts.steps}",
        facts.training,
    ]


_OUTCOME = ["task", "sampler", "success (95 %)", "lost, paired (95 %)", "at most", "reward (95 %)", "rounds", "evaluations"]


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
        f"{s.solver.rounds_mean:.1f}",
        f"{s.solver.evaluations_mean:.0f}",
    ]


_SPEED = ["task", "ddpm, ms", "para-ddpm", f"`{EXACT}`", "auto", "which is"]


def _speed(task: str, one: Measured) -> list[str]:
    ratios = [f"{r.median:.2f} × ({r.low:.2f}–{r.high:.2f})" for r in one.speed.values()]
    return [task, f"{one.sequential_ms:.1f}", *ratios, f"`{one.chosen}`"]


_ROUNDS = [
    "task",
    "values in a chunk",
    *(f"window {window}" for window in WINDOWS),
    "episodes: mean",
    "5th to 95th percentile",
]


def _rounds(task: str, one: Measured) -> list[str]:
    rounds = _rounds_of_plans(one.exact)
    low, high = np.percentile(rounds, [5, 95])
    values = one.spec.horizons.predict * one.spec.action_size
    return [task, str(values), *(f"{mean:.1f}" for mean in one.rounds), f"{rounds.mean():.1f}", f"{low:.0f} to {high:.0f}"]


def _rounds_of_plans(run: Compared) -> np.ndarray:
    return run.steps["replan_rounds"].dropna().to_numpy()


def _finding(measured: dict[str, Measured]) -> str:
    """The exact sampler's rounds and speed, from the best task to the worst, and where Square is."""
    rounds = {task: one.exact.summary.solver.rounds_mean for task, one in measured.items()}
    speeds = {task: one.speed["auto"].median for task, one in measured.items()}
    return (
        f"**The exact sampler (window 8) takes {_range(rounds, '.1f')} rounds a plan instead of 100, and `auto` is"
        f" {_range(speeds, '.2f')} times as fast as sequential DDPM on the same engine.**"
    )


def _range(values: dict[str, float], form: str) -> str:
    least, most = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    return f"{values[least]:{form}} ({least}) to {values[most]:{form}} ({most})"


def _episodes(measured: dict[str, Measured]) -> str:
    counts = {one.exact.summary.episodes for one in measured.values()}
    return f"{'/'.join(map(str, sorted(counts)))} episodes a task"


def _links(out: Path, measured: dict[str, Measured]) -> str:
    pages = [f"{task}-reward-vs-latency.md" for task in measured]
    return ", ".join(f"[{page.removesuffix('.md')}]({page})" for page in pages if (out / page).exists())


def _plot(measured: dict[str, Measured], path: Path) -> None:
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4.2), layout="constrained")
    for task, one in measured.items():
        left.plot(WINDOWS, one.rounds, "o-", label=task)
    left.set(xscale="log", xlabel="window", ylabel="rounds a plan, exact sampler", ylim=(0, None))
    left.set_xticks(WINDOWS, [str(window) for window in WINDOWS])
    left.legend()
    middle.boxplot([_rounds_of_plans(one.exact) for one in measured.values()], whis=(5, 95), showfliers=False)
    middle.set_xticklabels(list(measured))
    middle.set(ylabel="rounds a plan in the episodes, window 8", ylim=(0, None))
    places = np.arange(len(measured))
    for i, name in enumerate(("para-ddpm", EXACT, "auto")):
        ratios = [one.speed[name] for one in measured.values()]
        medians = np.array([r.median for r in ratios])
        spread = [medians - [r.low for r in ratios], np.array([r.high for r in ratios]) - medians]
        right.bar(places + 0.27 * (i - 1), medians, 0.25, yerr=spread, label=name, capsize=2)
    right.axhline(1, color="0.4", lw=0.8)
    right.set_xticks(places, list(measured))
    right.set(ylabel="times as fast as sequential DDPM, one robot")
    right.legend()
    for axes in (left, middle, right):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)
