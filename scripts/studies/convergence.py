"""Compares the rounds of Picard iteration with bounds from measured Lipschitz constants."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paradp.checkpoints import load_policy, read_info
from paradp.policy import DiffusionPolicy
from paradp.policy.observations import Observation
from paradp.rollouts.expert_histories import expert_histories
from paradp.rollouts.statistics import bootstrap, interval
from paradp.sampler import NoisePath, Picard, SamplerChoice
from paradp.scripts.canvas import legend_below, panels, save
from paradp.scripts.console import each
from paradp.scripts.families import COLOURS
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.lipschitz import Constants, NetworkOnTable, bound_on_rounds, contraction
from paradp.scripts.studies.published import Page, estimate
from paradp.scripts.studies.registry import drawing, study

SHIPPED = "shipped"
# Each with the unit and the linear split.
SAMPLERS = {
    "diffusion": ("para-ddpm", "para-ddpm-25", "para-ddim-15", "para-dpm-solver-15"),
    "flow": ("para-flow-10",),
    "consistency": ("para-consistency-4",),
}
SPLITS = ("unit", "linear")
TENTHS = 10
HEADER = ["policy", "predicts", "sampler", "split", "contraction", "rounds", "linearised", "bound", "steps"]
NORMS_HEADER = ["policy", "steps of para-ddpm", "clip(x̂0)", "linear split", "unit split"]


@dataclass(frozen=True)
class MeasuredConvergence:
    """The measurements of one sampler on one policy, `[B]` each.

    Attributes:
        contraction: bound on the factor by which a round changes errors, for the median window.
        rounds, linearised, bound: the rounds needed, the rounds needed with the linearised network, and their upper bound.
    """

    contraction: np.ndarray
    rounds: np.ndarray
    linearised: np.ndarray
    bound: np.ndarray


@study
def study_convergence(context: Context, observations: int = 8, iterations: int = 12, seed: int = 50_000) -> None:
    """Writes OUT/convergence.md and its picture."""
    policies = {SHIPPED: load_policy(context.task, "ddpm", engine="eager")} | _trainings(context)
    histories = expert_histories(policies[SHIPPED].spec, observations, seed)
    rows, norms = [], []
    for name in each("policies", list(policies)):
        found, constants = _measure(policies[name], histories, iterations)
        predicts = _predicts(policies[name])
        rows += [[name, predicts, *cells] for cells in found]
        norms += [[name, *cells] for cells in _by_tenths(constants)]
    body = f"""
{_MATHEMATICS}

## Measured

Policies for {context.task}: the shipped one, and trainings found in `--runs` ({", ".join(f"`{n}`" for n in policies)}).
{observations} observations of the scripted expert's episodes (seeds from {seed}), one noise path each, window 20, tolerance
0.1. Norms are by {iterations} steps of power iteration at every exact state, with `torch.func.jvp` and `torch.func.vjp` on
the eager network in fp32; power iteration comes from below. Intervals are bootstrapped over the observations, 95 %.

{markdown_table(HEADER, rows)}

*Contraction* is q of the median window: a bound on the factor by which a round changes the largest error, in units of each
state's noise. If it is above 1, a single round guarantees nothing, only as many rounds as the window has steps. *Rounds* is
the number that the solver needed; *linearised* the number with the network linearised along the exact trajectory; *bound*
the upper bound from the norms; *steps* the upper bound for any network.

![norms along the trajectory, and rounds](convergence.png)

{_said(rows)}

Norms by tenths of the trajectory, from noise to data, median over observations and steps (and the largest):

{markdown_table(NORMS_HEADER, norms)}
"""
    page = context.out / "convergence.md"
    write_report(page, "How fast must Picard iteration converge?", body)
    draw(page)


def _trainings(context: Context) -> dict[str, DiffusionPolicy]:
    """Folder name → policy, for the task's trainings in the folder of runs."""
    paths = {path.parent.name: path for path in sorted(context.runs.glob("*/checkpoint"))}
    kinds = {name: read_info(path).spec for name, path in paths.items()}
    first = {"diffusion": "ddpm", "flow": "flow-10", "consistency": "consistency-4"}
    return {
        name: load_policy(paths[name], first[spec.process], engine="eager")
        for name, spec in kinds.items()
        if spec.task == context.task
    }


def _predicts(policy: DiffusionPolicy) -> str:
    schedule = policy.spec.schedule
    return f"{schedule.get('prediction_type', 'velocity')}, {schedule.get('beta_schedule', 'straight lines')}"


def _measure(
    policy: DiffusionPolicy, histories: Observation, iterations: int
) -> tuple[list[list[str]], list[Constants] | None]:
    """The rows of all samplers, and the norms along DDPM's trajectory; `None` if the policy has no DDPM sampler."""
    rows, along = [], None
    with torch.no_grad():
        condition = policy.engine.encode(policy.condition(histories))
    shape = (policy.spec.horizons.predict, policy.spec.action_size)
    for name in SAMPLERS[policy.spec.process]:
        table = SamplerChoice.parse(name).build(policy.spec.schedule).table
        noise = NoisePath.draw([torch.Generator().manual_seed(i) for i in range(len(condition))], table.steps, shape)
        network = NetworkOnTable(table, policy.engine, condition, shape)
        trajectory = network.trajectory(noise)
        constants = network.constants(trajectory, iterations)
        if name == "para-ddpm":
            along = constants
        for split in SPLITS:
            solver = Picard(network.table, split=split)  # type: ignore[arg-type]
            starts = range(0, max(1, table.steps - solver.window + 1))
            shrinks = [[contraction(table, one, b, solver.window, split) for b in starts] for one in constants]
            rounds = [
                solver.solve(denoiser, c, noise).stats.rounds.numpy()
                for denoiser, c in ((policy.engine, condition), network.linearised(trajectory))
            ]
            bounds = [bound_on_rounds(table, one, trajectory, solver, i) for i, one in enumerate(constants)]
            cells = [_mean(np.median(shrinks, 1), 2), *(_mean(one, 1) for one in (*rounds, np.array(bounds)))]
            rows.append([f"`{name}`", split, *cells, str(table.steps)])
    return rows, along


def _by_tenths(constants: Sequence[Constants] | None) -> list[list[str]]:
    if constants is None:
        return []
    stacked = [np.stack([getattr(one, key) for one in constants]) for key in ("clean", "pushed", "drift")]
    steps = stacked[0].shape[1]
    edges = np.linspace(0, steps, TENTHS + 1).astype(int)
    return [
        [f"{low}–{high - 1}", *(f"{np.median(v[:, low:high]):.3f} ({v[:, low:high].max():.3f})" for v in stacked)]
        for low, high in pairwise(edges)
    ]


def _mean(values: np.ndarray, digits: int) -> str:
    return interval(bootstrap([float(value) for value in values]), digits)


def _said(rows: Sequence[Sequence[str]]) -> str:
    """The paragraph on how loose the bound is, from the rows."""
    found = [dict(zip(HEADER, row, strict=True)) for row in rows]
    loose = [estimate(row["bound"]).mean / estimate(row["rounds"]).mean for row in found]
    trivial = [row for row in found if estimate(row["bound"]).mean > 0.9 * float(row["steps"])]
    tangent = [estimate(row["linearised"]).mean / estimate(row["rounds"]).mean for row in found]
    below = sum(estimate(row["contraction"]).mean < 1 for row in found)
    return f"""**How loose the bound is.** It allows {min(loose):.1f} to {max(loose):.1f} times the rounds that were
needed. In {len(trivial)} of {len(found)} rows it is within a tenth of the number of steps, a bound that needs no
measurement. In {below} of them a round is guaranteed to shrink errors (contraction below 1). The linearised network needs
{min(tangent):.2f} to {max(tangent):.2f} times the observed rounds. Where that is near 1, the linear iteration explains the
rounds, and the bound is loose because it uses norms. A norm is reached in a single direction of the chunk, another one at
every step. The errors of an iteration have other directions, which change from step to step; the bound adds them up as if
they were all aligned."""


_MATHEMATICS = """
Picard iteration on a window x_b … x_{b+p} has the exact trajectory x* as its fixed point. Let e_j be the length of the error
of x_j, with e_b = 0. Besides a_k x and the noise, step k adds y_k(x) = c_k clip(x̂0_k(x)) + r_k x̂0_k(x). After a round

- of the linear split, x_{j+1} ← a_j x_j + y_j(x_j) with a_j x_j of the same round: e'_{j+1} ≤ a_j e'_j + ‖∂y_j‖ e_j, and so
  e'_{j+1} ≤ Σ_{i≤j} (∏_{i<k≤j} a_k) ‖∂y_i‖ e_i;
- of the unit split, x_{j+1} ← x_b + Σ_{k≤j} [(a_k − 1) x_k + y_k(x_k)]: e'_{j+1} ≤ Σ_{i≤j} ‖(a_i − 1) I + ∂y_i‖ e_i.

If the table looks back, |d_j| ‖∂clip(x̂0_{j−1})‖ e_{j−1} is added. Together this is e' ≤ M e with a matrix M ≥ 0 that is
strictly lower triangular, because a state depends only on those before it. Two bounds follow. M^p = 0, so p rounds suffice
for a window with any network. And a round multiplies the largest e_j/s_j by at most q = max_j Σ_i M_{ji} s_i/s_j, where s_j
is the unit of the tolerance, the noise with which a change of x_j is compared. Between the two is the bound of Picard and
Lindelöf, ‖M^r‖ ≤ C (pμ)^r/r! for norms up to μ: slow at first, and faster than any q^r in the end.

The bound on rounds propagates e' ≤ M e through the rounds of the solver itself. It includes the sliding window; the
tolerance, as a change is at most the sum of the errors before and after; and states that enter the window as copies (unit
split) or rolled forward (linear split). States behind the window count as exact, as in the solver. The norms are those at
the exact states. That they are not larger along the iterates is assumed, not proven, so the bound holds for small errors.
"""


@drawing()
def draw(path: Path) -> Figure:
    """Draws the picture of a page from its tables."""
    page = Page(path)
    figure, (left, right) = panels(2, 4.6)
    norms = page.table(*NORMS_HEADER)
    policies = list(dict.fromkeys(row["policy"] for row in norms))
    for colour, name in zip(COLOURS, policies, strict=False):
        of = [row for row in norms if row["policy"] == name]
        for key, style in (("linear split", "-"), ("unit split", "--")):
            values = [float(row[key].split()[0]) for row in of]
            left.plot(range(1, len(of) + 1), values, style, color=colour, marker="o", ms=3, label=f"{name}, {key}")
    left.set(
        xlabel="tenth of the trajectory, from noise to data",
        ylabel="norm of what a round iterates on (median)",
        yscale="log",
        title="para-ddpm: how much of an error a step passes on",
    )
    left.legend(fontsize=8)
    rows = page.table(*HEADER)
    labels = [f"{row['policy']}: {row['sampler'].removeprefix('para-')}, {row['split']}" for row in rows]
    looks = (("rounds", COLOURS[0], "o"), ("linearised", COLOURS[2], "D"), ("bound", COLOURS[1], "s"))
    for y, row in enumerate(rows):
        right.plot([1, float(row["steps"])], (y, y), color="0.87", lw=1, zorder=0)
        right.plot(float(row["steps"]), y, "|", color="0.4", ms=9)
        for key, colour, marker in looks:
            found = estimate(row[key])
            right.plot(found.ci95, (y, y), color=colour, lw=2)
            right.plot(found.mean, y, marker, color=colour, ms=5)
    right.set(xscale="log", xlabel="rounds of a chunk", title="needed, on the tangent, guaranteed")
    right.set_yticks(range(len(rows)), labels, fontsize=7)
    right.set_ylim(len(rows) - 0.5, -0.5)
    handles = [Line2D([], [], color=colour, marker=marker, label=_NAMES[key]) for key, colour, marker in looks]
    handles.append(Line2D([], [], color="0.4", marker="|", ls="", label="steps: upper bound for any network"))
    legend_below(figure, columns=4, handles=handles)
    save(figure, path.with_suffix(".png"))
    return figure


_NAMES = {
    "rounds": "rounds needed",
    "linearised": "needed on the network's tangent",
    "bound": "bound from Lipschitz constants",
}
