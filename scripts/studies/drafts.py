"""Compares the drafts of speculative sampling by rounds, with an oracle that bounds linear corrections."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from paradp.checkpoints import checkpoint_digest, find_checkpoint, load_policy, read_draft, read_draft_info, write_draft
from paradp.checkpoints.drafts import DOCUMENT
from paradp.policy import PolicySpec
from paradp.policy.learning.draft import DraftTraining, train_draft
from paradp.policy.networks.draft import DraftConfig, draft_cost, network_cost
from paradp.rollouts.expert_histories import expert_histories
from paradp.scripts.canvas import legend_below, panels, save
from paradp.scripts.console import each
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.context import SHIPPED, Context
from paradp.scripts.studies.draft_experiment import (
    DRAFTS,
    FITTED,
    FITTED_SEED,
    JACOBIAN,
    OBSERVATIONS,
    SECANT,
    SEED,
    DraftCost,
    Experiment,
)
from paradp.scripts.studies.published import Page
from paradp.scripts.studies.registry import drawing, study

TRAINING_SECONDS, TRAINED_ON = 300.0, 2000
SAMPLERS = (
    "speculative-ddpm:window=8",
    "speculative-ddpm:window=20",
    "speculative-ddpm:window=50",
    "speculative-ddpm:ahead=30:window=100",
    "speculative-ddpm-25:window=8",
)
BOUNDED = SAMPLERS[1:3]  # samplers for the oracle, which takes as long as all other drafts together
HEADER = ["sampler", "draft", "rounds", "± 95 %", "most", "evaluations", "± 95 % of those", "rounds ÷ secant's"]
TENTHS = [f"{10 * i}–{10 * i + 9}" for i in range(10)]
Costs = Mapping[tuple[str, str], DraftCost]  # by sampler and draft


@study
def study_drafts(context: Context) -> None:
    """Writes TASK-drafts.md and its picture."""
    path = find_checkpoint(context.task)
    policy, digest = load_policy(context.task, "ddpm"), checkpoint_digest(path)
    if not (path / DOCUMENT).exists():
        histories = expert_histories(policy.spec, TRAINED_ON, FITTED_SEED, 5)
        write_draft(*train_draft(policy, histories, TRAINING_SECONDS), path, digest)
    draft, training = read_draft(path, policy.spec, digest), read_draft_info(path, digest).training
    experiment = Experiment(policy, draft)
    costs = {
        (sampler, name): experiment.cost(sampler, name)
        for sampler in each(f"{context.task}, samplers", SAMPLERS)
        for name in DRAFTS
        if name != JACOBIAN or sampler in BOUNDED
    }
    body = f"""
The {context.task} policy {SHIPPED}, {OBSERVATIONS} observations along the scripted expert's episodes from seed {SEED},
each with the same noise for all drafts, and without a previous plan as first guess. With any draft, a sampler has exactly
the distribution of its sequential sampler. The network was computed by the {policy.engine.name} engine in
{policy.engine.precision}.

{_drafts_section(policy.spec, draft.config, training)}

{_costs_section(costs)}

{_rejections_section(costs)}

![rounds by window, and rejections along the trajectory, for every draft]({context.task}-drafts.png)
"""
    page = context.out / f"{context.task}-drafts.md"
    write_report(page, f"{context.task}: drafts of speculative sampling", body)
    draw(page)


def _drafts_section(spec: PolicySpec, config: DraftConfig, training: DraftTraining) -> str:
    """The section that describes the drafts."""
    cost = draft_cost(spec, config)
    return f"""\
- **frozen**, **picard**, **secant**: as in [the proof](../exactness.md); secant is the default.
- **Kalman**: a matrix for each step, the mean posterior covariance, fitted to {FITTED} sequential trajectories; with the
  secant.
- **network's Jacobian**: the oracle for corrections that are linear in the state: the network's Jacobian at the state of the
  held prediction, with the secant. It costs as much as the network at every drafted state.
- **secant, first guess trained**: the secant draft, started from the trained draft's first guess.
- **trained**: a correction of rank {config.rank} whose gains a small network computes from the held prediction, and a
  trained first guess. {cost:,} multiply-adds per row, {cost / network_cost(spec):.1%} of the policy's network, trained on
  {training.plans:,} plans of the policy in {training.seconds / 60:.0f} minutes ({training.steps:,} optimiser steps)."""


def _costs_section(costs: Costs) -> str:
    rows = [
        [f"`{sampler}`", name, *_cells(cost), f"{cost.rounds.mean() / costs[sampler, SECANT].rounds.mean():.2f}"]
        for (sampler, name), cost in costs.items()
    ]
    return markdown_table(HEADER, rows)


def _rejections_section(costs: Costs) -> str:
    wide = SAMPLERS[2]
    rows = [[name, *_along(costs[wide, name].rejections)] for name in DRAFTS]
    return f"""\
Rejections per plan with `{wide}`, by tenths of the trajectory, from noise to data. A plan needs one round, one more for each
rejection, and one more for each full window.

{markdown_table(["draft", *TENTHS, "all"], rows)}"""


def _along(rejections: np.ndarray) -> list[str]:
    """Rejections in each tenth of the trajectory, and in all."""
    return [f"{one:.2f}" for one in (*rejections.reshape(10, -1).sum(1), rejections.sum())]


def _cells(cost: DraftCost) -> list[str]:
    return [
        f"{cost.rounds.mean():.2f}",
        f"{_interval(cost.rounds):.2f}",
        str(cost.rounds.max()),
        f"{cost.evaluations.mean():.0f}",
        f"{_interval(cost.evaluations):.0f}",
    ]


def _interval(values: np.ndarray) -> float:
    """Half the width of the mean's 95 % interval."""
    return float(1.96 * values.std(ddof=1) / len(values) ** 0.5)


_COLOURS = dict(zip(DRAFTS, ("0.7", "0.45", "tab:blue", "tab:green", "tab:red", "tab:cyan", "tab:orange"), strict=True))


@drawing()
def draw(path: Path) -> Figure:
    """Draws the picture of a page from its tables."""
    page = Page(path)
    rows, rejections = page.table(*HEADER), page.table("draft", *TENTHS, "all")
    figure, (left, right) = panels(2, 4.6)
    samplers = list(dict.fromkeys(row["sampler"] for row in rows))
    width = 0.8 / len(DRAFTS)
    for i, name in enumerate(DRAFTS):
        of = [row for row in rows if row["draft"] == name]
        place = [samplers.index(row["sampler"]) + (i - (len(DRAFTS) - 1) / 2) * width for row in of]
        rounds, errors = ([float(row[key]) for row in of] for key in ("rounds", "± 95 %"))
        left.bar(place, rounds, width, yerr=errors, color=_COLOURS[name], label=name, error_kw={"lw": 0.8})
        (along,) = (row for row in rejections if row["draft"] == name)
        right.plot(range(10), [float(along[tenth]) for tenth in TENTHS], "o-", color=_COLOURS[name], ms=3)
    short = [s.removeprefix("speculative-").replace(":", "\n") for s in samplers]
    left.set_xticks(range(len(samplers)), short, fontsize=7)
    left.set(ylabel="rounds a plan, mean and 95 %", title="rounds")
    right.set_xticks(range(10), TENTHS, rotation=45, fontsize=7)
    right.set(xlabel="step, from noise to data", ylabel="rejections a plan", title="where drafts are rejected, window 50")
    legend_below(figure)
    save(figure, path.with_suffix(".png"))
    return figure
