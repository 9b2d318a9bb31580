"""The map of samplers: latency of a plan against fidelity to DDPM's distribution, and the best samplers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from paradp.checkpoints import checkpoint_digest, find_checkpoint, read_info
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
from paradp.scripts.studies.shipped_runs import evaluated_tasks
from paradp.scripts.studies.turns import Ratio
from paradp.scripts.trade_off import LESS, TradeOffPoint, plot_trade_off

# The task in the picture.
SHOWN = "square"
EXECUTED = 8
ENERGY, JERK = LESS
COVERED = "DDPM's plans covered"
# Allowed loss of coverage in the second aim.
LOOSE = 0.03


@dataclass(frozen=True)
class Place:
    """One sampler on the map.

    Attributes:
        cost: cost of a plan.
        ratios: number of threads → its latency over that of `USUAL`, for each repeat.
        kept: fidelity of its steps to DDPM's distribution; `None` if not measured.
        run: episodes with its distribution; `None` if there are none.
    """

    sampler: str
    cost: PlanCost
    ratios: Mapping[int, Ratio]
    kept: StepsFidelity | None
    run: ComparedRun | None


@dataclass(frozen=True)
class Map:
    """The samplers of a task, and the expected coverage for equal distributions."""

    task: str
    places: Sequence[Place]
    expected_coverage: float

    def best(self, aim: "Aim") -> Place | None:
        """The cheapest sampler that meets an aim."""
        near = [place for place in self.places if place.kept and aim.meets(place.kept, self.expected_coverage)]
        return min(near, key=aim.cost, default=None)


@dataclass(frozen=True)
class Aim:
    """A criterion for choosing a sampler.

    Attributes:
        name: description on the page.
        meets: whether a fidelity is sufficient, given the expected coverage for equal distributions.
        cost: the quantity to minimise.
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
    """Writes OUT/front.md and its picture: measures the tasks evaluated in RUNS/TASK, and keeps the page's rows of others.

    Raises:
        ValueError: no task was evaluated, a checkpoint's fidelity was not measured, or an evaluation is of other weights.
    """
    tasks = evaluated_tasks(context, "front", kept=False)
    # Everything is read first, so that missing input is reported before the measurement.
    read = {task: _read(context, task) for task in tasks}
    maps = [_map(task, *read[task]) for task in each("tasks", tasks)]
    page = context.out / "front.md"
    tables = merged(_tables(maps), page)
    write_report(page, "The front: latency of a plan against fidelity", _body(tables, read[tasks[0]][0]))
    draw(page)


def _read(context: Context, task: str) -> tuple[Fidelity, Outcomes]:
    fidelity = _fidelity(task)
    return fidelity, Outcomes.read(context, task, samplers_for(fidelity))


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
    """The tables of the page: one for each of `AIMS`, the machines, and all samplers."""
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
Latency of a plan against the fidelity of its distribution to that of DDPM with all steps, for which the policies were
trained. In every panel up is better and left is faster. The grey line is the front: no sampler is both faster and better.

![latency of a plan against coverage, energy distance, success and jerk](front.png)

{aims}

Each task was measured separately: compare samplers within a task, not milliseconds between tasks.

{markdown_table(["task", "latencies measured on"], machines)}

*p50, p99*: latency of a plan for one robot in ms, on the default engine, {REPEATS} plans of each sampler in turns. Each
timed plan follows one that is not timed, because in use a sampler is alone in its process, with its weights in the
processor's caches. *÷ {USUAL}*: the ratio within each repeat, median and middle half. *Rounds, evaluations*: without a
first guess, at {EACH} random moments of each of {EPISODES} of the expert's episodes. On a GPU a round takes about the same
time for one row as for a hundred, so the rounds determine the latency. *Energy, covered, spread*: from {fidelity.plans}
plans at each of {fidelity.observations} observations, compared with as many of DDPM
([definitions](square-distributions.md); expected coverage for equal distributions: {fidelity.expected_coverage:.3f}). A
speculative sampler has the values of its steps. *Fitted* grids and every `eta` come from `paradp fidelity`, which chose
them at other observations. *Success, lost, jerk*: from episodes with the same distribution, on the same seeds as DDPM's;
*lost at most*: one-sided 95 % bound of the loss of success, or for tasks with a graded reward, one-sided 97.5 % bound of
the loss of reward.

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
    """The bound on the loss of reward for tasks with a graded reward, otherwise of success."""
    if run.loss is None:
        return "baseline"
    return f"{run.loss.upper95:+.3f}" if not run.summary.graded else f"{-run.differences['reward'].ci95[0]:+.3f} reward"


def _jerk(run: ComparedRun) -> Estimate:
    """The ratio of its mean jerk over episodes to the reference's."""
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
