"""Compares grids of fewer timesteps (evenly spread, by a rule, fitted to each policy) by their fidelity to DDPM's plans."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from paradp.checkpoints import load_policy, pretrained
from paradp.policy import DiffusionPolicy
from paradp.policy.fidelity import Bounds, Interval, StepsFidelity
from paradp.policy.observations import Observation, take
from paradp.rollouts.evaluation.fidelity import TRAJECTORIES, fitted_at, fitted_name, measure_costs, measure_steps
from paradp.rollouts.evaluation.plans import draw_plans
from paradp.rollouts.evaluation.two_sample import expected_coverage
from paradp.rollouts.expert_histories import expert_histories
from paradp.sampler import SamplerChoice
from paradp.sampler.fitted_grids import best_grids, grid_cost
from paradp.scripts.canvas import legend_below, panels, save
from paradp.scripts.console import each
from paradp.scripts.families import COLOURS
from paradp.scripts.report import between, markdown_table, write_report
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.published import Page, estimate
from paradp.scripts.studies.registry import drawing, study

NUMBERS = (10, 12, 16, 20, 25, 32)
# Names of the grids: evenly spread, by the rule `sine`, fitted to the policy itself, and fitted to all other policies.
TRAILING, SINE, OWN, OTHERS = GRIDS = ("trailing", "sine", "fitted", "fitted to the others")
WINDOW = 4
HEADER = ["policy", "N", "grid", "divergence", "energy (95 %)", "p", "covered (95 %)", "spread ÷ ddpm's (95 %)"]
ROUNDS = f"rounds / evaluations, window {WINDOW}"


@dataclass(frozen=True)
class Observed:
    """A policy, the observations for evaluating its grids, and the costs of coarse steps at other observations."""

    policy: DiffusionPolicy
    judging: Observation
    costs: np.ndarray


@study
def study_grids(context: Context, observations: int = 32, plans: int = 32, seed: int = 40_000) -> None:
    """Writes OUT/grids.md and its picture."""
    observed = {name: _observe(name, observations, seed) for name in each("pretrained policies, fitting", pretrained())}
    rows: list[list[str]] = []
    for name, one in observed.items():
        others = np.mean([other.costs for key, other in observed.items() if key != name] or [one.costs], axis=0)
        rows += _rows(name, one, others, plans, seed)
    expected = expected_coverage(plans, plans)
    engine = next(iter(observed.values())).policy.engine
    body = f"""
A large step of DDPM keeps its first prediction constant. The resulting loss adds up over the steps of a grid (a
Kullback-Leibler divergence, `paradp.sampler.fitted_grids`), so the grid of N timesteps with the smallest loss can be
computed from recorded trajectories. Grids were *fitted* at {fitted_at(observations)}
observations of the scripted expert's episodes, with {TRAJECTORIES} trajectories of sequential DDPM at each. They were
evaluated at {observations} others: {plans} plans of sequential DDPM on the grid at each, all with independent noise,
compared with {plans} on all timesteps. *fitted to the others* is the best grid for the mean of the other policies' losses.
`trailing` spreads the timesteps evenly; `sine` is the rule t = (T − 1) sin⁴(πu/2), u evenly from 1 to 0, which was
chosen on square and pusht. The network was computed by the {engine.name} engine in {engine.precision}; seeds from
{seed}.

{_conclusion(rows, expected)}

{markdown_table([*HEADER, ROUNDS], rows)}

*Divergence* is the loss in nats, at the fitting observations. *Energy*, *p*, *covered* and *spread* are defined in
[distributions](square-distributions.md): equal distributions have 0, a large p, {expected:.3f} and 1. The intervals are
bootstrapped over the observations. The last column is for `speculative-ddpm-N` with a window of {WINDOW} on the same grid,
which has the same distribution. On grids that are dense at the end, more drafts are rejected.

![energy, coverage and spread](grids.png)
"""
    page = context.out / "grids.md"
    write_report(page, "Grids of timesteps that fit the policy", body)
    draw(page)


def _observe(name: str, observations: int, seed: int) -> Observed:
    policy = load_policy(name, "ddpm")
    histories = expert_histories(policy.spec, observations + fitted_at(observations), seed, every=40)
    costs = measure_costs(policy, take(histories, slice(observations, None)), seed, lambda rows: None)
    return Observed(policy, take(histories, slice(observations)), costs)


def _rows(name: str, one: Observed, others: np.ndarray, plans: int, seed: int) -> list[list[str]]:
    """The rows of one policy."""
    fitted = {OWN: best_grids(one.costs, max(NUMBERS)), OTHERS: best_grids(others, max(NUMBERS))}
    last = len(one.costs) - 2
    samplers = {
        (number, grid): fitted_name("ddpm", [last - step for step in fitted[grid][number - 1]])
        if grid in fitted
        else f"ddpm-{number}:spacing={grid}"
        for number in NUMBERS
        for grid in GRIDS
    }
    measured: dict[str, StepsFidelity] = {}
    for sampler in each(f"{name}, grids", list(dict.fromkeys(samplers.values()))):
        measured |= measure_steps(one.policy, [sampler], one.judging, plans, seed, lambda rows: None)
    rows = []
    for (number, grid), sampler in samplers.items():
        timesteps = SamplerChoice.parse(sampler).build(one.policy.spec.schedule).table.timesteps.tolist()
        cost = grid_cost(one.costs, [last - t for t in timesteps])
        rows.append([name, str(number), grid, f"{cost:.2f}", *_cells(measured[sampler]), _rounds(one, sampler)])
    return rows


def _cells(one: StepsFidelity) -> list[str]:
    return [between(one.energy, 4), f"{one.p_value:.3f}", between(one.coverage), between(one.spread)]


def _rounds(one: Observed, sampler: str) -> str:
    drawn = draw_plans(one.policy, f"speculative-{sampler}:window={WINDOW}", one.judging, 1, first_seed=0)
    return f"{drawn.rounds:.1f} / {drawn.evaluations:.0f}"


def _conclusion(rows: list[list[str]], expected: float) -> str:
    """A table with, for each N and grid, the mean energy and the number of policies within the bounds of `auto-fast`."""
    header = ["N", *(f"{grid}: energy, within bounds" for grid in GRIDS)]
    table = []
    for number in NUMBERS:
        cells = []
        for grid in GRIDS:
            of = [row for row in rows if (row[1], row[2]) == (str(number), grid)]
            energy = np.mean([estimate(row[4]).mean for row in of])
            within = sum(_within(row, expected) for row in of)
            cells.append(f"{energy:.4f}, {within} of {len(of)}")
        table.append([str(number), *cells])
    said = f"Mean over the policies, and how many are within the bounds of `auto-fast` ({Bounds().describe(expected)}):"
    return f"{said}\n\n{markdown_table(header, table)}"


def _within(row: list[str], expected: float) -> bool:
    energy, coverage, spread = (Interval(e.mean, *e.ci95) for e in map(estimate, (row[4], row[6], row[7])))
    return Bounds().allow(StepsFidelity(energy, 1.0, coverage, spread), expected)


@drawing()
def draw(path: Path) -> Figure:
    """Draws the picture of a page from its table."""
    page = Page(path)
    rows = page.table(*HEADER)
    expected = page.number(r"equal distributions have 0, a large p, ([\d.]+) and 1")
    figure, axes_of = panels(3, 4.2)
    bounds = Bounds()
    limits = ((-1.0, bounds.energy), (expected - bounds.coverage, 2.0), (1 - bounds.spread, 1 + bounds.spread))
    for axes, column, within, equal in zip(
        axes_of, (HEADER[4], HEADER[6], HEADER[7]), limits, (0.0, expected, 1.0), strict=True
    ):
        for grid, colour in zip(GRIDS, COLOURS, strict=False):
            means = _by_number(rows, grid, column)
            axes.plot(list(means), [np.mean(each) for each in means.values()], "o-", color=colour, label=grid, zorder=3)
            for number, values in means.items():
                axes.plot([number] * len(values), values, ".", color=colour, alpha=0.35, ms=4)
        low, high = axes.get_ylim()
        axes.axhspan(max(low, within[0]), min(high, within[1]), color="0.92", zorder=0)
        axes.axhline(equal, color="0.4", lw=1, ls=":")
        axes.set(xlabel="timesteps N", ylim=(low, high))
        axes.set_xticks(NUMBERS)
    for axes, title, label in zip(
        axes_of,
        ("how far from DDPM's plans", "DDPM's plans covered", "spread of the plans"),
        ("energy coefficient (0: equal)", "share covered", "spread ÷ DDPM's (1: equal)"),
        strict=True,
    ):
        axes.set(title=title, ylabel=label)
    handles: list[Artist] = [Line2D([], [], color=c, marker="o", label=g) for g, c in zip(GRIDS, COLOURS, strict=False)]
    handles += [
        Line2D([], [], color="0.4", ls="", marker=".", alpha=0.5, label="one policy"),
        Line2D([], [], color="0.4", lw=1, ls=":", label="equal distributions"),
        Patch(color="0.92", label="within auto-fast's bounds"),
    ]
    legend_below(figure, columns=4, handles=handles)
    save(figure, path.with_suffix(".png"))
    return figure


def _by_number(rows: list[dict[str, str]], grid: str, column: str) -> Mapping[int, list[float]]:
    numbers = sorted({int(row["N"]) for row in rows})
    return {n: [estimate(r[column]).mean for r in rows if r["grid"] == grid and int(r["N"]) == n] for n in numbers}
