"""Checks whether the results on Square hold for all tasks with weights: expert, data, success, cost of a plan."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from paradp.checkpoints import read_info
from paradp.checkpoints.cards import Trained
from paradp.policy.wording import counted
from paradp.rollouts.evaluation.comparison import ComparedRun, Comparison
from paradp.rollouts.statistics import PairedLoss, bootstrap, interval
from paradp.scripts.console import each
from paradp.scripts.paper_table import PUBLISHED
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.experts import EPISODES as EXPERT_EPISODES
from paradp.scripts.studies.experts import FIGURES, ExpertFigures
from paradp.scripts.studies.registry import drawing, study
from paradp.scripts.studies.shipped_runs import evaluated_tasks
from paradp.scripts.studies.task_figures import (
    EACH,
    EPISODES,
    EXACT,
    FEW,
    PARA,
    PLANS,
    REPEATS,
    SAMPLERS,
    SPEED,
    Denoising,
    TaskFigures,
    measure,
    read_evaluation,
)
from paradp.scripts.studies.task_picture import draw_tasks


@study
def study_tasks(context: Context) -> None:
    """Writes OUT/tasks.md and its picture, for the tasks evaluated in RUNS/TASK, and those whose runs were kept.

    The effect of training on rounds is measured on the policies in RUNS/trainings/NAME, if there are any.

    Raises:
        ValueError: experts were not measured, no task was evaluated, or an evaluation has other weights or conditions.
    """
    experts = _experts(context.out)
    evaluations = _evaluations(context, experts)
    others = _other_trainings(context.runs / "trainings")
    measured = {
        task: measure(task, experts[task], evaluations[task], others.get(task, []))
        for task in each("tasks", list(evaluations))
    }
    page = context.out / "tasks.md"
    write_report(page, "Tasks: does what Square shows hold elsewhere?", _page(measured, context.out))
    draw(page)


def _evaluations(context: Context, experts: Mapping[str, ExpertFigures]) -> dict[str, Comparison]:
    """Task → evaluation; checks that the task's expert was measured."""
    tasks = evaluated_tasks(context, f"paper,{EXACT},{FEW}", kept=True)
    evaluations = {task: read_evaluation(context, task) for task in tasks}
    if unknown := evaluations.keys() - experts.keys():
        raise ValueError(f"{context.out}/experts.json does not contain {min(unknown)}: run `paradp study experts` again")
    return evaluations


def _page(measured: dict[str, TaskFigures], out: Path) -> str:
    """The text of the page; `out` is its folder, which also has the pages that it links to."""
    return f"""
{_finding(measured)}

{_origin_section(measured)}

{_outcome_section(measured)}

{_pooled(measured)}

{_speed_section(measured)}

{_rounds_section(measured)}

![rounds, rejections and speed by task](tasks.png)

ParaDiGMS' table for each task, and success against latency: {_links(out, measured)}.
"""


def _experts(out: Path) -> dict[str, ExpertFigures]:
    path = out / "experts.json"
    if not path.exists():
        raise ValueError(f"{path} is missing; make it with `paradp study experts --out {out}`")
    return FIGURES.validate_json(path.read_bytes())


_ORIGIN = ["task", "expert (95 %)", "shaken", "spread", "of a way of", "demonstrations", "network", "training"]


def _origin_section(measured: dict[str, TaskFigures]) -> str:
    return f"""\
Origin of the policies: success of the experts over {EXPERT_EPISODES} new episodes, and *shaken*, with the noise of the
collected demonstrations (see [experts](experts.md), also for the spread); networks trained on the experts' successes.

{markdown_table(_ORIGIN, [_origin(task, one) for task, one in measured.items()])}"""


def _origin(task: str, one: TaskFigures) -> list[str]:
    expert, trainings = one.expert, one.denoising.trainings[::-1]
    return [
        task,
        expert.calm.cells()[0],
        expert.shaken.cells()[0],
        f"{expert.spread:.1f} {expert.unit}",
        f"{expert.way:.0f} {expert.unit}",
        ", then ".join(f"{trained.episodes} ({counted(trained.control_steps, 'step')})" for trained in trainings),
        one.spec.network.describe(),
        ", then ".join(trained.describe() for trained in trainings),
    ]


_OUTCOME = ["task", "sampler", "episodes", "success (95 %)", "lost, paired (95 %)", "at most", "reward (95 %)",
            "more, paired", "rounds", "evaluations"]  # fmt: skip


def _outcome_section(measured: dict[str, TaskFigures]) -> str:
    first = next(iter(measured.values())).exact.summary.seed
    rows = [row for task, one in measured.items() for row in _outcomes(task, one)]
    return f"""\
{_not_run(measured)}Results: episodes with seeds from {first} on. *Lost*: paired loss of success to
sequential DDPM on the seeds in common; *at most*: its one-sided 95 % bound. *Reward*: mean of the best reward in each
episode, and its paired difference, for tasks with a graded reward (for others it equals success). *Rounds* (mean of the
episodes' means, 95 %) and *evaluations* are for plans with the last chunk as first guess.

{markdown_table(_OUTCOME, rows)}"""


def _not_run(measured: dict[str, TaskFigures]) -> str:
    """Names the episodes that were not run, as a paragraph."""
    missing = {
        sampler: [task for task, one in measured.items() if sampler not in {run.label for run in one.evaluation.runs}]
        for sampler in SAMPLERS
    }
    said = "; ".join(f"`{sampler}` on {', '.join(tasks)}" for sampler, tasks in missing.items() if tasks)
    return f"Not run yet: episodes of {said}.\n\n" if said else ""


def _outcomes(task: str, one: TaskFigures) -> list[list[str]]:
    return [[task, *_outcome(run)] for run in one.evaluation.runs]


def _outcome(run: ComparedRun) -> list[str]:
    s, loss = run.summary, run.loss
    return [
        f"`{run.label}`",
        str(s.episodes),
        interval(s.success),
        f"{loss.loss:+.3f} ({loss.ci95[0]:+.3f} to {loss.ci95[1]:+.3f})" if loss else "baseline",
        f"{loss.upper95:+.3f}" if loss else "",
        interval(s.reward) if s.graded else "",
        interval(run.differences["reward"]) if loss and s.graded else "",
        interval(bootstrap(list(run.episodes["rounds_mean"])), 1),
        f"{s.solver.evaluations_mean:.0f}",
    ]


def _speed_section(measured: dict[str, TaskFigures]) -> str:
    return f"""\
Latency of a plan for one robot: {REPEATS} plans of each sampler in turns, without a first guess, each with its own engine,
default engine and threads. Median ratio of the time of sequential DDPM to that of the sampler, with the middle half of the
repeats. `auto` is the sampler that the autotuner chose on this machine. It and the sampler with window 8 have the
distribution of DDPM; `{FEW}` does not, but is close to it (see [the front](front.md)).

{markdown_table(list(SPEED), [_speed(task, one) for task, one in measured.items()])}"""


def _speed(task: str, one: TaskFigures) -> list[str]:
    ratios = [f"{r.median:.2f} × ({r.low:.2f}–{r.high:.2f})" for r in one.speed.values()]
    return [task, f"{one.sequential_ms:.1f}", *ratios, f"`{one.chosen}`"]


def _rounds_section(measured: dict[str, TaskFigures]) -> str:
    header = _rounds_header(next(iter(measured.values())).denoising)
    rows = [row for task, one in measured.items() for row in _rounds(task, one)]
    return f"""\
Rounds of the exact sampler without a first guess against its window, over {EACH} random moments of each of {EPISODES}
episodes of the expert (95 % over episodes). A window of 8 needs at least 13 rounds on any task. With a window of 100 every
round except the last ends at a rejection, so the rejections per plan compare the tasks. *Undecided*: standard
deviation of {PLANS} plans of sequential DDPM for one observation, root mean square over the values of the chunk, normalised
units. The first row of each task is the shipped policy; further rows are other trainings on the same observations,
such as the one from which the shipped policy started. Policies differ in training as well as in task, and {len(measured)} of
them are too few to explain the differences. `{PARA}` has ParaDiGMS' settings, window 20 and tolerance 0.1; its paper reports
{_reported()}.

{markdown_table(header, rows)}"""


def _reported() -> str:
    """ParaDDPM's rounds and evaluations in the paper, as text."""
    rows = {task: rows[PARA] for task, rows in PUBLISHED.items()}
    return ", ".join(f"{row.rounds} rounds and {row.evaluations} evaluations on {task}" for task, row in rows.items())


def _rounds_header(of: Denoising) -> list[str]:
    windows = [f"window {window}" for window in of.rounds]
    para = [f"{PARA}: rounds (95 %)", f"{PARA}: evaluations"]
    return ["task", "training", "rejections (95 %)", *windows, *para, "undecided (95 %)", "values in a chunk"]


def _rounds(task: str, one: TaskFigures) -> list[list[str]]:
    values = str(one.spec.horizons.predict * one.spec.action_size)
    return [[task, _budget(of.trainings), *_cells(of), values] for of in (one.denoising, *one.otherwise)]


def _cells(of: Denoising) -> list[str]:
    rounds = [f"{estimate.mean:.1f}" for estimate in of.rounds.values()]
    para = [interval(of.para_rounds, 1), f"{of.para_evaluations.mean:.0f}"]
    return [interval(of.rejections, 1), *rounds, *para, interval(of.undecided)]


def _budget(trainings: Sequence[Trained]) -> str:
    """The optimiser steps and episodes of a policy's trainings."""
    return ", then ".join(
        f"{counted(trained.steps, 'step')}, {counted(trained.episodes, 'episode')}" for trained in reversed(trainings)
    )


def _finding(measured: dict[str, TaskFigures]) -> str:
    """A sentence with the rounds and the speed of the exact sampler for each task."""
    by_task = [
        f"{task} {one.exact.summary.solver.rounds_mean:.1f} rounds, {one.speed[EXACT].median:.2f} ×"
        for task, one in measured.items()
    ]
    return (
        f"**Rounds that the exact sampler (window 8) takes instead of 100 in the episodes, and how many times as fast as"
        f" sequential DDPM its plans are on the same engine: {'; '.join(by_task)}.**"
    )


def _pooled(measured: dict[str, TaskFigures]) -> str:
    """The losses of the exact sampler over all tasks together, and the task with the most differing pairs."""
    of = {task: one.exact.loss for task, one in measured.items() if one.exact.loss is not None}
    losses = of.values()
    most = max(of, key=lambda task: of[task].lost + of[task].won)
    pooled = PairedLoss(*(sum(getattr(loss, name) for loss in losses) for name in ("pairs", "lost", "won")))
    low, high = pooled.ci95
    return (
        f"Over all {pooled.pairs} pairs of all tasks the exact sampler loses {pooled.loss:+.4f} success ({low:+.4f} to"
        f" {high:+.4f}; at most {pooled.upper95:+.4f}); of the {pooled.lost + pooled.won} pairs that differ,"
        f" {of[most].lost + of[most].won} are {most}'s. Its distribution is sequential DDPM's by [proof](../exactness.md):"
        " this checks the program."
    )


def _other_trainings(folder: Path) -> dict[str, list[Path]]:
    """Task → checkpoints in `folder`."""
    found: dict[str, list[Path]] = {}
    for checkpoint in sorted(folder.glob("*/checkpoint")):
        found.setdefault(read_info(checkpoint).spec.task, []).append(checkpoint)
    return found


def _links(out: Path, measured: dict[str, TaskFigures]) -> str:
    pages = [f"{task}-reward-vs-latency.md" for task in measured]
    return ", ".join(f"[{page.removesuffix('.md')}]({page})" for page in pages if (out / page).exists())


@drawing()
def draw(path: Path) -> Figure:
    """Draws the picture of a page from its tables."""
    return draw_tasks(path)
