"""Tests whether samplers draw plans from the distribution of sequential DDPM, and measures how their plans differ."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from paradp.checkpoints import load_policy
from paradp.rollouts.evaluation.plans import draw_plans
from paradp.rollouts.evaluation.two_sample import (
    Modes,
    TwoSample,
    coverage,
    expected_coverage,
    find_modes,
    spread,
    spread_ratio,
    two_sample_test,
)
from paradp.rollouts.expert_histories import expert_histories
from paradp.rollouts.statistics import Estimate, bootstrap, holm, interval, paired_bootstrap
from paradp.scripts.canvas import legend_below, panels, save
from paradp.scripts.console import each
from paradp.scripts.families import COLOURS
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.context import SHIPPED, Context
from paradp.scripts.studies.published import Page, estimate
from paradp.scripts.studies.registry import drawing, study

REFERENCE = "ddpm"
SAMPLERS = (
    "speculative-ddpm:window=8",
    "para-ddpm",
    "para-ddpm:split=linear",
    "ddim-5",
    "ddim-10",
    "ddim-15",
    "ddim-25",
    "ddim-10:spacing=trailing",
    "ddim-15:spacing=trailing",
    "dpm-solver-5",
    "dpm-solver-10",
    "dpm-solver-15",
)
# The reference with other noise; the test must not find it different.
CONTROL = "ddpm, other noise"
LEVEL = 0.01
# Least number of observations with two modes for comparing the modes' shares.
LEAST_MODES = 3
HEADER = ["sampler", "inhomogeneity (95 %)", "p", "p, Holm", "spread ÷ ddpm's (95 %)", "ddpm's plans covered (95 %)"]
MODES_HEADER = ["smaller mode's share", "less ddpm's (95 %)"]
# Shares by which the control's plans are moved towards their mean, to measure the sensitivity of the test.
NARROWED = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5)


@dataclass(frozen=True)
class PlansCompared:
    """One sampler's plans against the reference's.

    Attributes:
        test: the test for equal distributions.
        inhomogeneity: its statistic, with an interval over the observations.
        spread: the ratio to the reference's.
        covered: the share of the reference's plans that have one of the sampler's nearby.
        share: share of the smaller mode, mean over the observations with two modes; `None` if there are too few of those.
        gained: that share minus the reference's.
    """

    test: TwoSample
    inhomogeneity: Estimate
    spread: Estimate
    covered: Estimate
    share: float | None
    gained: Estimate | None


@study
def study_distributions(context: Context, observations: int = 32, plans: int = 32, seed: int = 30_000) -> None:
    """Writes OUT/TASK-distributions.md and its picture."""
    policy = load_policy(context.task, REFERENCE)
    histories = expert_histories(policy.spec, observations, seed, every=40)
    names = {CONTROL: REFERENCE, **{sampler: sampler for sampler in SAMPLERS}}
    pilot, reference, *others = (
        draw_plans(policy, sampler, histories, plans, stream * observations * plans).chunks
        for stream, sampler in enumerate(each(f"{context.task}, samplers", [REFERENCE, REFERENCE, *names.values()]))
    )
    modes = {i: found for i, drawn in enumerate(pilot) if (found := find_modes(drawn)) is not None}
    compared = {name: _compare(drawn, reference, modes) for name, drawn in zip(names, others, strict=True)}
    adjusted = dict(zip(compared, holm([one.test.p_value for one in compared.values()]), strict=True))
    narrowing = _least_narrowing_found(others[0], reference, LEVEL / len(compared))
    header = HEADER + MODES_HEADER * (len(modes) >= LEAST_MODES)
    expected = expected_coverage(plans, plans)
    body = f"""
{plans} chunks of the {context.task} policy {SHIPPED} by each sampler at each of {observations} observations of the scripted
expert's episodes (seeds from {seed}), every chunk with independent noise, against {plans} of sequential DDPM. Chunks are
compared over the whole horizon, in normalised units. The network was computed by the {policy.engine.name} engine in
{policy.engine.precision}; speculative sampling had no first guess.

{_conclusion(adjusted, narrowing)}

{markdown_table(header, [_row(name, one, adjusted[name]) for name, one in compared.items()])}

{_legend(expected)}
{_modes_said(len(modes), observations)}

{_spread_said(reference)}

{_losses(compared, expected)}

![inhomogeneity, spread and coverage]({context.task}-distributions.png)
"""
    page = context.out / f"{context.task}-distributions.md"
    write_report(page, f"{context.task}: do samplers draw the same plans?", body)
    draw(page)


def _compare(drawn: np.ndarray, reference: np.ndarray, modes: Mapping[int, Modes]) -> PlansCompared:
    test = two_sample_test(drawn, reference)
    share = gained = None
    if len(modes) >= LEAST_MODES:
        shares, others = ([found.smaller_share(plans[i]) for i, found in modes.items()] for plans in (drawn, reference))
        share, gained = float(np.mean(shares)), paired_bootstrap(shares, others)
    inhomogeneity, covered = bootstrap(list(test.by_observation)), bootstrap(list(coverage(drawn, reference)))
    return PlansCompared(test, inhomogeneity, spread_ratio(drawn, reference), covered, share, gained)


def _least_narrowing_found(control: np.ndarray, reference: np.ndarray, level: float) -> float | None:
    """The smallest entry of `NARROWED` that the test detects if the control's plans are moved towards their mean by it."""
    mean = control.mean(1, keepdims=True)
    for share in NARROWED:
        if two_sample_test(mean + (1 - share) * (control - mean), reference).p_value <= level:
            return share
    return None


def _conclusion(adjusted: Mapping[str, float], narrowing: float | None) -> str:
    different = [name for name, p in adjusted.items() if p <= LEVEL]
    same = [name for name, p in adjusted.items() if p > LEVEL]
    control = "**The control is found different: this measurement is not to be trusted.** " if CONTROL in different else ""
    share, found = (NARROWED[-1], "are not found") if narrowing is None else (narrowing, "are found")
    return f"""{control}With a probability of at most {100 * LEVEL:g} % that any is named wrongly, these draw from a
distribution other than DDPM's: **{", ".join(different) or "none"}**. Not found different: {", ".join(same) or "none"}. The
sensitivity of the test: plans of sequential DDPM itself, moved by {100 * share:g} % towards their mean, {found}."""


def _legend(expected: float) -> str:
    """The paragraph that explains the columns."""
    return f"""\
*Inhomogeneity* is the energy coefficient (Székely & Rizzo 2013): how much further apart plans of two samplers are than plans
of one, as a share of their distance; a mean over the observations, each scaled by its own standard deviations, and 0 for
equal distributions except for chance. *p* is the share of permutations of plans between the two samplers, within
observations, with a value at least as large. All samplers are compared with the same plans of DDPM, so the tests are
dependent; Holm's adjustment remains valid. *Spread* is the median distance between two plans of a sampler; its ratio is a
geometric mean over the observations. A plan of DDPM is *covered* if one of the sampler's plans is at most as far from it as
its fifth nearest plan of DDPM (coverage, Naeem et al. 2020); for equal distributions {100 * expected:.1f} % are. Intervals
are bootstrapped over the observations, separately for each sampler."""


def _spread_said(reference: np.ndarray) -> str:
    """The paragraph on the spread of the reference's plans `[observations, plans, H·A]`."""
    low, middle, high = np.percentile(spread(reference) / reference.shape[2] ** 0.5, [10, 50, 90])
    return f"""\
The distance of two plans of DDPM itself depends on the observation. As a root mean square over a chunk's values, its median
over the observations is {middle:.1e}, with 10th and 90th percentiles of {low:.1e} and {high:.1e}."""


def _modes_said(found: int, observations: int) -> str:
    said = f"DDPM's plans fall clearly into two modes at {found} of the {observations} observations"
    if found < LEAST_MODES:
        return f"{said}: too few to compare the modes' shares."
    return f"""{said}. The modes were found with a separate set of DDPM's plans. The last columns show the share of plans
that are nearer to the mode that was smaller in that set."""


def _losses(compared: Mapping[str, PlansCompared], expected: float) -> str:
    """The samplers whose interval excludes the value for DDPM's distribution."""
    narrower = [name for name, one in compared.items() if one.spread.ci95[1] < 1]
    wider = [name for name, one in compared.items() if one.spread.ci95[0] > 1]
    uncovered = [name for name, one in compared.items() if one.covered.ci95[1] < expected]
    less = [name for name, one in compared.items() if one.gained and one.gained.ci95[1] < 0]
    more = [name for name, one in compared.items() if one.gained and one.gained.ci95[0] > 0]
    said = {
        "Narrower than DDPM": narrower,
        "Wider": wider,
        "Cover less of DDPM's plans than its own distribution would": uncovered,
    }
    if any(one.gained for one in compared.values()):
        said |= {"Draw the smaller mode less often": less, "More often": more}
    return " ".join(f"{what}: {', '.join(names) or 'none'}." for what, names in said.items())


def _row(name: str, one: PlansCompared, adjusted: float) -> list[str]:
    modes = [] if one.share is None or one.gained is None else [f"{one.share:.3f}", interval(one.gained)]
    return [
        f"`{name}`" if name != CONTROL else name,
        interval(one.inhomogeneity, 4),
        f"{one.test.p_value:.4f}",
        f"{adjusted:.4f}",
        interval(one.spread),
        interval(one.covered),
        *modes,
    ]


@drawing()
def draw(path: Path) -> Figure:
    """Draws the picture of a page from its tables."""
    page = Page(path)
    rows = page.table(*HEADER)
    plans = int(page.number(r"(\d+) chunks of the "))
    figure, (left, middle, right) = panels(3, 4.6, sharey=True)
    for axes, column in ((left, HEADER[1]), (middle, HEADER[4]), (right, HEADER[5])):
        control = next(estimate(row[column]) for row in rows if row["sampler"] == CONTROL)
        axes.axvspan(*control.ci95, color="0.87", zorder=0)
        for y, row in enumerate(rows):
            _interval(axes, y, estimate(row[column]), different=float(row["p, Holm"]) <= LEVEL)
    for axes, equal in ((left, 0.0), (middle, 1.0), (right, expected_coverage(plans, plans))):
        axes.axvline(equal, color="0.4", lw=1, ls=":")
    left.set(xlabel="inhomogeneity (0: equal)", title="how far from DDPM's plans")
    middle.set(xlabel="spread ÷ DDPM's (1: equal)", title="spread of the plans")
    right.set(xlabel="share covered (1: all)", title="DDPM's plans covered", xlim=(None, 1.0))
    left.set_yticks(range(len(rows)), [row["sampler"] for row in rows])
    left.set_ylim(len(rows) - 0.5, -0.5)
    handles = [
        Line2D([], [], color=COLOURS[1], marker="s", label=f"other than DDPM's distribution, at {100 * LEVEL:g} %"),
        Line2D([], [], color=COLOURS[0], marker="o", label="not found different"),
        Patch(color="0.87", label="DDPM with other noise, 95 %"),
        Line2D([], [], color="0.4", lw=1, ls=":", label="equal distributions"),
    ]
    legend_below(figure, columns=4, handles=handles)
    save(figure, path.with_suffix(".png"))
    return figure


def _interval(axes: Axes, y: float, estimate: Estimate, different: bool) -> None:
    colour = COLOURS[different]
    axes.plot(estimate.ci95, (y, y), color=colour, lw=2)
    axes.plot(estimate.mean, y, "s" if different else "o", color=colour, ms=5)
