"""Parallel sampling of a one-dimensional Gaussian mixture with its exact denoiser: rounds against T, τ and window."""

import math
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paradp.policy.wording import counted
from paradp.sampler import (
    NoisePath,
    Picard,
    Sequential,
    Solver,
    Speculative,
    StepTable,
    iterates_of,
    mixture_denoiser,
    step_table,
)
from paradp.sampler.noise import noise_generator
from paradp.scripts.canvas import legend_below, panels, save
from paradp.scripts.console import each
from paradp.scripts.families import COLOURS
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.published import Page, Row
from paradp.scripts.studies.registry import drawing, study

SCHEDULE = {"_class_name": "DDPMScheduler", "num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2"}
STEPS = (25, 50, 100, 250, 500, 1000)
TOLERANCES = (0.0, 1e-3, 1e-2, 0.1, 0.3, 1.0)
WINDOWS = (1, 2, 5, 10, 20, 50, 100)
PATHS = 256
KINDS = ("unit", "linear", "speculative")
# Weight of the lower mode, in the mixture with unequal weights.
BELOW = 0.8
BUDGETS = (5, 6, 7, 8, 9, 10, 12)
BUDGET_PATHS = 20_000
TRAJECTORIES = "mixture-trajectories.png"
SHOWN_ROUNDS = (1, 3, 6, 12)
SHOWN_PATHS = 4


@study
def study_mixture(context: Context) -> None:
    """Writes mixture.md and its two pictures; they do not depend on the task."""
    sections = (
        _SETTING,
        _steps_section(),
        _tolerance_section(),
        _window_section(),
        _budget_section(),
        _TRAJECTORIES_SECTION,
    )
    page = context.out / "mixture.md"
    write_report(page, "A Gaussian mixture in one dimension, sampled in parallel", "\n\n".join(sections))
    draw(page)
    draw_trajectories(page)


_SETTING = f"""\
One-dimensional data around ±0.6 with equal probability and standard deviation 0.15; the denoiser is the exact posterior
mean. Cosine schedule, DDPM with T of 1000 timesteps, {PATHS} noise paths, float64. `unit` and `linear` are ParaDDPM's
splits, with τ = 0.1 unless noted; `speculative` has no tolerance. All figures are means over the paths."""


def _steps_section() -> str:
    widest = {kind: [_measure(kind, n, window=n) for n in each(f"{kind}, steps", STEPS)] for kind in KINDS}
    narrow = {kind: [_measure(kind, n, window=20) for n in each(f"{kind}, steps at window 20", STEPS)] for kind in KINDS}
    header = ["T", *(f"{k}, window T" for k in KINDS), *(f"{k}, window 20" for k in KINDS)]
    rows = [
        [str(steps), *(f"{widest[k][i][0]:.1f}" for k in KINDS), *(f"{narrow[k][i][0]:.1f}" for k in KINDS)]
        for i, steps in enumerate(STEPS)
    ]
    return f"## Rounds against T\n\n{markdown_table(header, rows)}"


def _tolerance_section() -> str:
    splits = ("unit", "linear")
    measured = {
        split: [_measure(split, 100, tolerance=t) for t in each(f"{split}, tolerances", TOLERANCES)] for split in splits
    }
    header = ["τ", *(f"{split}: {figure}" for split in splits for figure in ("rounds", "error"))]
    rows = [
        [f"{t:g}", *(cell for split in splits for cell in _cells(*measured[split][i]))] for i, t in enumerate(TOLERANCES)
    ]
    return f"""\
## Rounds and error against τ (T = 100, window 20)

The error is the mean absolute difference to the sequential sample on the same noise.

{markdown_table(header, rows)}"""


def _window_section() -> str:
    measured = {kind: [_measure(kind, 100, window=w) for w in each(f"{kind}, windows", WINDOWS)] for kind in KINDS}
    rows = [[str(w), *(f"{measured[k][i][0]:.1f}" for k in KINDS)] for i, w in enumerate(WINDOWS)]
    return f"""\
## Rounds against the window (T = 100)

{markdown_table(["window", *KINDS], rows)}

![rounds against T, tolerance and window](mixture.png)"""


def _budget_section() -> str:
    header = ["rounds", "out of budget", "all samples", "only those done in time", "exact"]
    return f"""\
## A budget of rounds

Data around −0.6 with probability {100 * BELOW:g} % and around 0.6 otherwise; `speculative`, T = 100, window 20,
{BUDGET_PATHS} noise paths. The table shows the share of the samples in the lower mode, and its standard error.
[Exactness](../exactness.md#with-a-deadline) proves the bound: the distribution of all samples differs from the exact one by
at most the share of samples out of budget. The samples that are done in time have another distribution than all samples.

{markdown_table(header, _budget_rows())}"""


_TRAJECTORIES_SECTION = f"""\
## Trajectories

Trajectories after some rounds over all 100 steps at once, τ = 0; the wide grey line is the sequential sampler. The unit
split overshoots far beyond the plot before it converges, and late steps converge last. The linear split keeps the known part
of a step exact, and stays near the solution from the first round on. So it needs fewer rounds, while the unit split gains
nothing from a window over all steps compared with a window of 50.

![trajectories converging]({TRAJECTORIES})"""


def _cells(rounds: float, error: float) -> tuple[str, str]:
    return f"{rounds:.1f}", f"{error:.1e}"


def _paths(table: StepTable, count: int) -> NoisePath:
    generators = [noise_generator(i) for i in range(count)]
    return NoisePath.draw(generators, table.steps, (1,), dtype=torch.float64)


def _measure(kind: str, steps: int, window: int = 20, tolerance: float = 0.1) -> tuple[float, float]:
    """Mean rounds, and mean absolute difference to the sequential sample."""
    table = step_table(SCHEDULE, steps)
    solver: Solver = Speculative(table, window) if kind == "speculative" else Picard(table, window, tolerance, kind)  # type: ignore[arg-type]
    denoiser, condition, noise = mixture_denoiser(table), torch.zeros(PATHS, 1), _paths(table, PATHS)
    solution = solver.solve(denoiser, condition, noise)
    sequential = Sequential(table).solve(denoiser, condition, noise)
    return float(solution.stats.rounds.double().mean()), float((solution.sample - sequential.sample).abs().mean())


def _budget_rows() -> list[list[str]]:
    """The effect of a budget of rounds on the weights of two modes, for all samples and for those that are done in time."""
    table = step_table(SCHEDULE, 100)
    denoiser, condition, noise = (
        mixture_denoiser(table, below=BELOW),
        torch.zeros(BUDGET_PATHS, 1),
        _paths(table, BUDGET_PATHS),
    )
    exact, rows = Speculative(table).solve(denoiser, condition, noise).sample, []
    for budget in each("budgets of rounds", BUDGETS):
        solution = Speculative(table, max_rounds=budget).solve(denoiser, condition, noise)
        done = solution.stats.converged
        shares = [_share(samples) for samples in (solution.sample, solution.sample[done], exact)]
        rows.append([str(budget), f"{1 - float(done.double().mean()):.1%}", *shares])
    return rows


def _share(samples: torch.Tensor) -> str:
    """The share of samples in the lower mode, with its standard error."""
    share = float((samples < 0).double().mean())
    return f"{share:.1%} ± {math.sqrt(share * (1 - share) / len(samples)):.1%}"


ROUND_TICKS = (5, 10, 30, 100, 300, 1000)
LOOKS = {"unit": (COLOURS[0], "o"), "linear": (COLOURS[1], "s"), "speculative": (COLOURS[2], "D")}


@drawing()
def draw(path: Path) -> Figure:
    """Draws the picture of a page from its tables."""
    page = Page(path)
    by_steps, by_tolerance, by_window = page.table("T"), page.table("τ"), page.table("window", *KINDS)
    figure, (left, middle, right) = panels(3, 3.9)
    left.plot(STEPS, STEPS, ":", color="black")
    for kind, (colour, marker) in LOOKS.items():
        style: dict[str, Any] = {"color": colour, "marker": marker, "ms": 5}
        left.plot(*_column(by_steps, "T", f"{kind}, window T"), "-", **style)
        left.plot(*_column(by_steps, "T", f"{kind}, window 20"), "--", **style)
        right.plot(*_column(by_window, "window", kind), "-", **style)
        if f"{kind}: rounds" in by_tolerance[0]:
            # Without the first row, whose tolerance is 0: the axis is logarithmic.
            middle.plot(*_column(by_tolerance[1:], "τ", f"{kind}: rounds"), "--", **style)
    left.set(xscale="log", yscale="log", xlabel="steps T", title="against the steps")
    middle.set(xscale="log", xlabel="tolerance τ", ylim=(0, None), title="against the tolerance (T = 100)")
    right.set(xscale="log", yscale="log", xlabel="window (steps)", title="against the window (T = 100)")
    left.set_yticks(ROUND_TICKS, [str(tick) for tick in ROUND_TICKS])
    right.set_yticks(ROUND_TICKS[:4], [str(tick) for tick in ROUND_TICKS[:4]])
    for axes, ticks in ((left, (25, 100, 250, 1000)), (middle, TOLERANCES[1:]), (right, WINDOWS)):
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_ylabel("rounds, mean")
        axes.minorticks_off()
    handles = [Line2D([], [], color=colour, marker=marker, label=kind) for kind, (colour, marker) in LOOKS.items()]
    lines = (("black", ":", "sequential: T rounds"), ("0.4", "-", "window T, or as on the axis"), ("0.4", "--", "window 20"))
    handles += [Line2D([], [], color=colour, ls=line, label=label) for colour, line, label in lines]
    legend_below(figure, columns=6, handles=handles, columnspacing=1.2)
    save(figure, path.with_suffix(".png"))
    return figure


def _column(rows: list[Row], x: str, y: str) -> tuple[list[float], list[float]]:
    return [float(row[x]) for row in rows], [float(row[y]) for row in rows]


@drawing(TRAJECTORIES)
def draw_trajectories(page: Path) -> Figure:
    """Computes and draws trajectories."""
    table = step_table(SCHEDULE, 100)
    noise, condition, denoiser = _paths(table, SHOWN_PATHS), torch.zeros(SHOWN_PATHS, 1), mixture_denoiser(table)
    figure, axes_of = panels(len(SHOWN_ROUNDS), 4.8, rows=2, sharex=True, sharey=True)
    for k, split in enumerate(("unit", "linear")):
        solver = Picard(table, window=table.steps, tolerance=0.0, split=split)  # type: ignore[arg-type]
        iterates = [states[..., 0] for states in iterates_of(solver, denoiser, condition, noise)]
        for axes, rounds in zip(axes_of[k * len(SHOWN_ROUNDS) :], SHOWN_ROUNDS, strict=False):
            for i in range(SHOWN_PATHS):
                axes.plot(iterates[-1][i], color="black", linewidth=2.5, alpha=0.3)
                axes.plot(iterates[rounds - 1][i], linewidth=1, color=COLOURS[i])
            axes.set_title(f"{split} split, after {counted(rounds, 'round')}")
            axes.set(ylim=(-2.5, 2.5), xlim=(0, table.steps))
    for axes in axes_of[-len(SHOWN_ROUNDS) :]:
        axes.set_xlabel("step: 0 noise, 100 data")
    figure.supylabel("state (data at −0.6 and 0.6)", fontsize=9)
    grey = Line2D([], [], color="black", lw=2.5, alpha=0.3, label="sequential sampler")
    paths = [Line2D([], [], color=COLOURS[i], label=f"noise path {i + 1}") for i in range(SHOWN_PATHS)]
    legend_below(figure, columns=5, handles=[grey, *paths])
    save(figure, page.with_name(TRAJECTORIES))
    return figure
