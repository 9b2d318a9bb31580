"""Compares a distilled policy and a flow policy with the shipped one: distribution, rounds, smoothness, success."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paradp.checkpoints import find_checkpoint, load_policy, read_info
from paradp.checkpoints.cards import read_trainings
from paradp.policy import DiffusionPolicy
from paradp.policy.learning.metrics_log import read_metrics
from paradp.policy.wording import counted
from paradp.rollouts.evaluation.fidelity import compare
from paradp.rollouts.evaluation.plans import Drawn, draw_plans
from paradp.rollouts.evaluation.two_sample import expected_coverage
from paradp.rollouts.expert_histories import expert_histories
from paradp.rollouts.statistics import bootstrap, interval
from paradp.scripts.canvas import legend_below, panels, save
from paradp.scripts.console import each
from paradp.scripts.families import COLOURS
from paradp.scripts.report import between, markdown_table, write_report
from paradp.scripts.studies.closed_loop import ClosedLoops, success_rate
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.published import Page, estimate
from paradp.scripts.studies.registry import drawing, study

SHIPPED = "shipped"
REFERENCE = "ddpm"
# Kind of training → samplers to measure.
SAMPLERS = {
    "diffusion": (
        "ddpm-25",
        "speculative-ddpm-25:window=8",
        "speculative-ddpm:window=8",
        "sde-dpm-solver-6:eta=4:spacing=sine",
        "sde-dpm-solver-8:spacing=sine",
        "ddim-5",
        "ddim-10",
        "dpm-solver-15",
    ),
    "consistency": (
        "consistency-1",
        "consistency-2",
        "consistency-4",
        "para-consistency-4",
        "speculative-consistency-4",
        "consistency-8",
        "para-consistency-8",
        "speculative-consistency-8",
    ),
    "flow": ("flow-1", "flow-2", "flow-4", "para-flow-4", "flow-10", "para-flow-10", "para-flow-10:split=linear"),
}
# The reference for a flow's few steps: its own sampler with many.
MANY = "flow-100"
HEADER = ["policy", "sampler", "rounds", "evaluations", "energy (95 %)", "covered (95 %)", "spread (95 %)", "jerk (95 %)"]
SUCCESS = "success (95 %)"
OWN_HEADER = ["sampler", "energy to flow-100 (95 %)", "covered of flow-100 (95 %)", "spread ÷ flow-100's (95 %)"]


@dataclass(frozen=True)
class Rival:
    """A policy to compare.

    Attributes:
        policy: the loaded policy.
        checkpoint: its directory.
        runs: the folder to search for rollouts of it.
    """

    policy: DiffusionPolicy
    checkpoint: Path
    runs: Path

    @property
    def kind(self) -> str:
        """The kind of training: diffusion, consistency or flow."""
        return self.policy.spec.process

    def success(self, sampler: str) -> str:
        """Its success rate in `paradp rollout --sampler …`; empty if no such run is found."""
        found = ClosedLoops(self.runs, self.policy, read_info(self.checkpoint).model_sha256).find(sampler)
        return success_rate(found.success) if found else ""


@study
def study_rivals(context: Context, observations: int = 32, plans: int = 32, seed: int = 30_000) -> None:
    """Writes OUT/rivals.md and its picture."""
    rivals = _rivals(context)
    shipped = rivals[SHIPPED].policy
    histories = expert_histories(shipped.spec, observations, seed, every=40)
    wanted = [(name, sampler) for name, rival in rivals.items() for sampler in _samplers(rival.kind)]
    reference, *others = (
        draw_plans(rivals[name].policy, sampler, histories, plans, stream * observations * plans)
        for stream, (name, sampler) in enumerate(each("samplers", [(SHIPPED, REFERENCE), (SHIPPED, REFERENCE), *wanted]))
    )
    drawn = dict(zip([(SHIPPED, f"{REFERENCE}, other noise"), *wanted], others, strict=True))
    rows = [
        [name, f"`{sampler}`", *_cells(found, reference, shipped), rivals[name].success(sampler.split(",")[0])]
        for (name, sampler), found in drawn.items()
    ]
    body = f"""
{_setting(context.task, rivals, observations, plans, seed)}

{markdown_table([*HEADER, SUCCESS], rows)}

{_legend(context.task, plans)}

{_parallel(drawn)}

{_flow_table(drawn)}

![energy and coverage against rounds](rivals.png)
"""
    page = context.out / "rivals.md"
    write_report(page, f"{context.task}: a distilled policy and a flow beside diffusion", body)
    draw(page)


def _setting(task: str, rivals: dict[str, Rival], observations: int, plans: int, seed: int) -> str:
    """The paragraph that describes the policies and the number of samples."""
    return f"""\
Other ways to plan with few network evaluations, compared with our samplers on {task}: a **distilled** policy
(a consistency model, Song et al. 2023; for policies Prasad et al. 2024), sampled by multistep consistency sampling,
and a **flow** (rectified flow, trained from the same demonstrations), sampled by Euler's method. {_trained(rivals)}

{plans} chunks by each sampler at each of {observations} observations of the scripted expert's episodes (seeds from
{seed}), each with independent noise, compared with {plans} chunks by sequential DDPM-100 of the shipped policy, which is
the teacher of the distilled policy. The flow is another model of the same demonstrations, so its plans may differ from the
shipped policy's for that reason alone. The second table measures the error of its few steps, against its own {MANY}."""


def _legend(task: str, plans: int) -> str:
    """The paragraph that explains the columns."""
    return f"""\
*Energy* is the energy coefficient of inhomogeneity (0 for equal distributions). *Covered* is the share of DDPM-100's plans
with a plan of the sampler nearby ({expected_coverage(plans, plans):.3f} for equal distributions). *Spread* is the ratio of
the spread of its plans to that of DDPM-100's; see [the study of distributions]({task}-distributions.md). *Jerk* is the root
mean square third difference along a chunk (normalised units per step³), divided by DDPM-100's. *Success* comes from the
rollouts in `--runs`. *Rounds* are sequential calls of the network and *evaluations* the rows in them, as means over all
plans; speculative samplers had no first guess. Intervals are bootstrapped over the observations."""


def _samplers(kind: str) -> tuple[str, ...]:
    return (*SAMPLERS[kind], *([MANY] if kind == "flow" else []))


def _rivals(context: Context) -> dict[str, Rival]:
    """The shipped policy, and the distilled and flow policies in the folder of runs.

    Raises:
        ValueError: the folder contains no distilled or flow policy for this task.
    """
    first = {"consistency": "consistency-1", "flow": "flow-1"}
    specs = {path: read_info(path).spec for path in sorted(context.runs.glob("*/checkpoint"))}
    fitting = {path: spec for path, spec in specs.items() if spec.task == context.task and spec.process in first}
    if not fitting:
        raise ValueError(
            f"{context.runs} holds no rivals; give the folder of `paradp distill {context.task} --out RUNS/distilled` and of"
            f" `paradp train {context.task} --process flow --out RUNS/flow` with --runs"
        )
    place = find_checkpoint(context.task)
    shipped = Rival(load_policy(place, REFERENCE), place, context.runs)
    return {SHIPPED: shipped} | {
        path.parent.name: Rival(load_policy(path, first[spec.process]), path, path.parent) for path, spec in fitting.items()
    }


def _trained(rivals: dict[str, Rival]) -> str:
    """A sentence with the training settings of each policy and the number of steps completed."""
    said = []
    for name, rival in rivals.items():
        trained = read_trainings(rival.checkpoint)[0]
        log = rival.runs / "metrics.jsonl"
        logged = read_metrics(log) if name != SHIPPED and log.exists() else []
        stopped = f" (of which {logged[-1].step} were done)" if logged else ""
        said.append(f"`{name}`: {counted(trained.steps, 'step')}{stopped} of batch {trained.batch_size}, {trained.took}")
    return "; ".join(said) + "."


def _cells(found: Drawn, reference: Drawn, policy: DiffusionPolicy) -> list[str]:
    kept = compare(found.chunks, reference.chunks)
    smooth, others = (_jerk(one.chunks, policy) for one in (found, reference))
    return [
        f"{found.rounds:.1f}",
        f"{found.evaluations:.1f}",
        between(kept.energy, 4),
        between(kept.coverage),
        between(kept.spread, 2),
        interval(bootstrap(list(smooth / others)), 2),
    ]


def _jerk(chunks: np.ndarray, policy: DiffusionPolicy) -> np.ndarray:
    """Root mean square third difference along flat chunks `[observations, plans, H·A]`, normalised units a step³."""
    steps = chunks.reshape(*chunks.shape[:2], policy.spec.horizons.predict, policy.spec.action_size)
    return np.sqrt(np.square(np.diff(steps, 3, axis=2)).mean((1, 2, 3)))


def _parallel(drawn: dict[tuple[str, str], Drawn]) -> str:
    """Rounds of parallel samplers with few steps, beside the number of sequential steps."""
    said = []
    for (name, sampler), found in drawn.items():
        way, _, steps = sampler.partition(":")[0].rpartition("-")
        if way.startswith(("para-consistency", "speculative-consistency", "para-flow")):
            of_rounds = f"{found.rounds:.1f} rounds and {found.evaluations:.1f} evaluations instead of {steps}"
            said.append(f"- `{sampler}` ({name}): {of_rounds}")
    return "**Does parallel iteration help them?**\n\n" + "\n".join(said) if said else ""


def _flow_table(drawn: dict[tuple[str, str], Drawn]) -> str:
    tables = []
    for name in dict.fromkeys(name for name, sampler in drawn if sampler == MANY):
        many = drawn[name, MANY].chunks
        rows = []
        for (of, sampler), found in drawn.items():
            if of == name and sampler != MANY:
                kept = compare(found.chunks, many)
                rows.append([f"`{sampler}`", between(kept.energy, 4), between(kept.coverage), between(kept.spread, 2)])
        tables.append(f"`{name}` against its own {MANY}:\n\n{markdown_table(OWN_HEADER, rows)}")
    return "\n\n".join(tables)


@drawing()
def draw(path: Path) -> Figure:
    """Draws the picture of a page from its tables."""
    rows = Page(path).table(*HEADER)
    policies = list(dict.fromkeys(row["policy"] for row in rows))
    figure, axes = panels(2, 6)
    for axis, column, title in zip(
        axes,
        ("energy (95 %)", "covered (95 %)"),
        ("how far from DDPM-100's plans (0: equal)", "DDPM-100's plans covered (1: all)"),
        strict=True,
    ):
        for row in rows:
            found, i = estimate(row[column]), policies.index(row["policy"])
            axis.plot([float(row["rounds"])] * 2, found.ci95, color=COLOURS[i], lw=1.5, alpha=0.6)
            axis.plot(float(row["rounds"]), found.mean, _marker(row["sampler"]), color=COLOURS[i], ms=6)
            _name_point(axis, row["sampler"], (float(row["rounds"]), found.mean), below=i == 2)
        axis.set(xscale="log", xlabel="rounds a plan", title=title, ylabel=column.partition(" ")[0], xlim=(0.8, 400))
        low, high = axis.get_ylim()
        axis.set_ylim(low - 0.1 * (high - low), high + 0.2 * (high - low))  # room for the labels
        axis.set_yticks([tick for tick in axis.get_yticks() if 0 <= tick <= 1])
        axis.set_xticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
        axis.minorticks_off()
    handles = [Line2D([], [], color=COLOURS[i], marker="o", ls="", label=name) for i, name in enumerate(policies)]
    handles += [
        Line2D([], [], color="0.4", marker=marker, ls="", label=label)
        for marker, label in (("o", "one step after another"), ("^", "para-…"), ("D", "speculative-…"))
    ]
    legend_below(figure, columns=6, handles=handles)
    save(figure, path.with_suffix(".png"))
    return figure


def _name_point(axis: Axes, sampler: str, point: tuple[float, float], below: bool) -> None:
    """Writes a sampler's name beside its point; parallel forms stay unnamed, left of their sequential one."""
    if _marker(sampler) != "o" and not sampler.startswith("speculative-ddpm:"):
        return
    axis.annotate(
        sampler.partition(":")[0],
        point,
        (3, -4 if below else 4),
        textcoords="offset points",
        rotation=-35 if below else 35,
        rotation_mode="anchor",
        va="top" if below else "bottom",
        fontsize=8,
    )


def _marker(sampler: str) -> str:
    return "^" if sampler.startswith("para-") else "D" if sampler.startswith("speculative-") else "o"
