"""The map: how long a plan takes against how near its distribution is to DDPM's, and which samplers are the best of both."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from paradp.checkpoints import checkpoint_digest, find_checkpoint, read_info
from paradp.envs import all_tasks
from paradp.policy.fidelity import FILE, Bounds, Fidelity, StepsFidelity
from paradp.policy.wording import counted
from paradp.rollouts.evaluation.comparison import ComparedRun
from paradp.rollouts.machine import hardware
from paradp.rollouts.statistics import Estimate, bootstrap, interval
from paradp.scripts.console import each
from paradp.scripts.families import without_grid
from paradp.scripts.figures import periods
from paradp.scripts.report import between, markdown_table, write_report
from paradp.scripts.studies.by_task import Rows, merged
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.front_figures import (
    EACH,
    EPISODES,
    REPEATS,
    THREADS,
    USUAL,
    Outcomes,
    PlanCost,
    measure_costs,
    samplers_for,
    steps_of,
)
from paradp.scripts.studies.published import Page, estimate
from paradp.scripts.studies.registry import drawing, study
from paradp.scripts.studies.turns import Ratio
from paradp.scripts.trade_off import LESS, TradeOffPoint, plot_trade_off

# Whose map is drawn.
SHOWN = "square"
EXECUTED = 8
ENERGY, JERK = LESS
COVERED = "DDPM's plans covered"
# What fewer steps may lose of the plans, in the second aim.
LOOSE = 0.03


@dataclass(frozen=True)
class Place:
    """One sampler on the map.

    Attributes:
        cost: of a plan.
        ratios: number of threads → its latency over `USUAL`'s, repeat by repeat.
        kept: what its steps keep of DDPM's distribution; `None` where that was not measured.
        run: episodes of its distribution; `None` where there are none.
    """

    sampler: str
    cost: PlanCost
    ratios: Mapping[int, Ratio]
    kept: StepsFidelity | None
    run: ComparedRun | None


@dataclass(frozen=True)
class Map:
    """A task's samplers, and what coverage is expected of equal distributions."""

    task: str
    places: Sequence[Place]
    expected_coverage: float

    def best(self, aim: "Aim") -> Place | None:
        """The cheapest sampler whose steps are near enough to DDPM's."""
        near = [place for place in self.places if place.kept and aim.meets(place.kept, self.expected_coverage)]
        return min(near, key=aim.cost, default=None)


@dataclass(frozen=True)
class Aim:
    """What a sampler is looked for.

    Attributes:
        name: in words.
        meets: whether what steps keep of DDPM's distribution will do, given the coverage expected of equal distributions.
        cost: what is to be least.
    """

    name: str
    meets: Callable[[StepsFidelity, float], bool]
    cost: Callable[[Place], float]


def _p50(place: Place) -> float:
    return place.cost.p50(THREADS[0])


AIMS = (
    Aim(f"The fastest within the bounds of `auto-fast` ({Bounds().describe()})", Bounds().allow, _p50),
    Aim(
        f"The fastest with coverage ≥ expected − {LOOSE}",
        lambda kept, expected: kept.coverage.value >= expected - LOOSE,
        _p50,
    ),
    Aim(
        f"The fewest rounds with energy ≤ {Bounds().energy}, which are the latency on a GPU",
        lambda kept, expected: kept.energy.value <= Bounds().energy,
        lambda place: place.cost.rounds.mean,
    ),
)


@study
def study_front(context: Context) -> None:
    """Writes OUT/front.md and its picture: measures the tasks evaluated in RUNS/TASK, and keeps what the page has of others.

    Raises:
        ValueError: nothing was evaluated, a checkpoint's fidelity was not measured, or an evaluation is of other weights.
    """
    tasks = [task for task in all_tasks() if (context.runs / task).exists()]
    if not tasks:
        raise ValueError(
            f"{context.runs} holds no evaluation of a task; make them with"
            f" `paradp evaluate TASK --samplers front --out {context.runs}/TASK`"
        )
    # What is missing is said before anything is measured.
    read = {task: _read(context.runs / task, task) for task in tasks}
    maps = [_map(task, *read[task]) for task in each("tasks", tasks)]
    page = context.out / "front.md"
    tables = merged(_tables(maps), page)
    write_report(page, "The front: latency of a plan against fidelity", _body(tables, read[tasks[0]][0]))
    draw(page)


def _read(folder: Path, task: str) -> tuple[Fidelity, Outcomes]:
    fidelity = _fidelity(task)
    return fidelity, Outcomes.read(folder, task, samplers_for(fidelity))


def _fidelity(task: str) -> Fidelity:
    checkpoint = find_checkpoint(task)
    try:
        return Fidelity.read(checkpoint / FILE, checkpoint_digest(checkpoint), read_info(checkpoint).spec.schedule)
    except FileNotFoundError:
        raise ValueError(f"the fidelity of {task}'s policy was not measured: run `paradp fidelity {task}`") from None


def _map(task: str, fidelity: Fidelity, outcomes: Outcomes) -> Map:
    costs = measure_costs(task, samplers_for(fidelity))
    places = [
        Place(
            sampler,
            cost,
            {threads: cost.over(costs[USUAL], threads) for threads in THREADS},
            fidelity.steps.get(steps_of(sampler)),
            outcomes.of(sampler),
        )
        for sampler, cost in costs.items()
    ]
    return Map(task, places, fidelity.expected_coverage)


def _tables(maps: Sequence[Map]) -> list[Rows]:
    """One for each of `AIMS`, that of the machines, and that of all samplers."""
    machine = hardware("cpu")
    return [
        *([_aim(one, aim) for one in maps] for aim in AIMS),
        [[one.task, f"{machine['cpu']}, {counted(machine['cores'], 'core')}"] for one in maps],
        [[one.task, *_row(place)] for one in maps for place in one.places],
    ]


def _body(tables: list[Rows], fidelity: Fidelity) -> str:
    *aimed, machines, rows = tables
    aims = "\n\n".join(f"{aim.name}:\n\n{markdown_table(_AIM, of)}" for aim, of in zip(AIMS, aimed, strict=True))
    return f"""
How long a plan takes, against how near its distribution is to that of DDPM with all its steps, which the policies were
trained for. Up is better in every panel, left is faster; the grey line is the front: no sampler is both faster and better.

![latency of a plan against coverage, energy distance, success and jerk](front.png)

{aims}

Each task was measured by itself: compare samplers within a task, and not milliseconds between tasks.

{markdown_table(["task", "latencies measured on"], machines)}

*p50, p99*: latency of a plan for one robot, ms, on the default engine, {REPEATS} plans of each sampler in turns, each after
one that is not timed (in use one sampler is alone in its process, and finds its weights in the processor's caches);
*÷ {USUAL}*: the ratio within each repeat, median and middle half. *Rounds, evaluations*: without a first guess, at {EACH}
random moments of each of {EPISODES} of the expert's episodes. On a GPU a round costs about the same for one row as for a
hundred: there rounds are the latency. *Energy, covered, spread*: of {fidelity.plans} plans at each of
{fidelity.observations} observations, against as many of DDPM ([what they are](square-distributions.md); coverage expected of
equal distributions: {fidelity.expected_coverage:.3f}); a speculative sampler has those of its steps. Grids that are *fitted*
and every `eta` are those of `paradp fidelity`, which chose them at other observations. *Success, lost, jerk*:
of episodes of the same distribution, on the same seeds as DDPM's; *lost at most*: one-sided 95 % bound, where the reward is
graded the reward's, one-sided 97.5 %.

{markdown_table(HEADER, rows)}
"""


HEADER = ["task", "sampler", "p50, 1 thread", "p99", "÷ ddim-10", "p50, 2 threads", "÷ ddim-10, 2 threads", "rounds (95 %)",
          "evaluations", "energy (95 %)", "covered (95 %)", "spread (95 %)", "success (95 %)", "lost at most",
          "jerk ÷ ddpm's (95 %)"]  # fmt: skip


def _row(place: Place) -> list[str]:
    cost, kept, run = place.cost, place.kept, place.run
    return [
        f"`{without_grid(place.sampler)}`",
        f"{cost.p50(1):.1f}",
        f"{cost.p99(1):.1f}",
        _ratio(place.ratios[1]),
        f"{cost.p50(2):.1f}",
        _ratio(place.ratios[2]),
        interval(cost.rounds, 1),
        f"{cost.evaluations.mean:.0f}",
        *((between(kept.energy, 4), between(kept.coverage), between(kept.spread)) if kept else [""] * 3),
        *((interval(run.summary.success), _lost(run), interval(_jerk(run))) if run else [""] * 3),
    ]


_AIM = [
    "task",
    "sampler",
    "÷ ddim-10, 1 thread",
    "2 threads",
    "rounds",
    "energy",
    "covered, expected",
    "spread",
    "lost at most",
]


def _aim(one: Map, aim: Aim) -> list[str]:
    place = one.best(aim)
    if place is None or place.kept is None:
        return [one.task, "none", *[""] * (len(_AIM) - 2)]
    kept = place.kept
    return [
        one.task,
        f"`{without_grid(place.sampler)}`",
        _ratio(place.ratios[1]),
        _ratio(place.ratios[2]),
        f"{place.cost.rounds.mean:.1f}",
        f"{kept.energy.value:.4f}",
        f"{kept.coverage.value:.3f}, {one.expected_coverage:.3f}",
        f"{kept.spread.value:.3f}",
        _lost(place.run) if place.run else "",
    ]


def _ratio(ratio: Ratio) -> str:
    return f"{ratio.median:.2f} ({ratio.low:.2f}–{ratio.high:.2f})"


def _lost(run: ComparedRun) -> str:
    """Of the reward where it is graded, for that is what such a task is judged by; otherwise of success."""
    if run.loss is None:
        return "baseline"
    return f"{run.loss.upper95:+.3f}" if not run.summary.graded else f"{-run.differences['reward'].ci95[0]:+.3f} reward"


def _jerk(run: ComparedRun) -> Estimate:
    """The mean over episodes, beside the reference's mean."""
    if run.loss is None:
        return Estimate(1.0, (1.0, 1.0))
    own, more = bootstrap(list(run.episodes["jerk"])).mean, run.differences["jerk"]
    reference = own - more.mean
    return Estimate(own / reference, (1 + more.ci95[0] / reference, 1 + more.ci95[1] / reference))


@drawing()
def draw(path: Path) -> Figure:
    """Draws the picture of a page from its tables."""
    page = Page(path)
    rows = [row for row in page.table(*HEADER) if row["task"] == SHOWN]
    complete = [row for row in rows if row["energy (95 %)"] and row["success (95 %)"]]
    runs = [
        TradeOffPoint(
            row["sampler"],
            {
                COVERED: estimate(row["covered (95 %)"]),
                ENERGY: estimate(row["energy (95 %)"]),
                "success": estimate(row["success (95 %)"]),
                JERK: estimate(row["jerk ÷ ddpm's (95 %)"]),
            },
            float(row["p50, 1 thread"]),
            float(row["p99"]),
            float(row["p99"]),
        )
        for row in complete
    ]
    return plot_trade_off(runs, f"{SHOWN}, one thread", periods(SHOWN, EXECUTED), path.with_suffix(".png"))
