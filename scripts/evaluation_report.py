"""The report of an evaluation: a recommended sampler, tables, and pictures."""

import io

import imageio.v2 as imageio

from paradp.envs import find_convention, find_task
from paradp.policy.wording import counted
from paradp.rollouts.episodes.captions import headed
from paradp.rollouts.episodes.environments import EnvironmentConfig
from paradp.rollouts.episodes.strips import HEADLINE, film_strip
from paradp.rollouts.evaluation.comparison import ComparedRun, Comparison
from paradp.rollouts.statistics import interval
from paradp.scripts.figures import plot_clocks, plot_reward_against_latency
from paradp.scripts.pages import PageTable, Picture, ReportPage
from paradp.scripts.paper_table import HEADER, paper_remark, paper_rows

# A sampler is recommended if, with 95 % confidence, it loses less success than this.
TOLERATED_LOSS = 0.05


def evaluation_report(comparison: Comparison, convention: str, strips: bool = True) -> ReportPage:
    """Makes the report of an evaluation.

    Args:
        comparison: the cells.
        convention: the policy's action convention, for film strips.
        strips: whether to add film strips of a success and a failure of each cell.
    """
    details = [_paired(comparison), _motion(comparison), _latencies(comparison), _cost(comparison)]
    if rows := paper_rows(comparison):
        details.append(PageTable("ParaDiGMS' table", HEADER, rows, paper_remark(comparison)))
    return ReportPage(
        f"{comparison.title} a cell",
        recommend(comparison),
        _plots(comparison),
        _outcomes(comparison),
        _power(comparison),
        [table for table in details if table.rows],
        _strips(comparison, convention) if strips else [],
    )


def recommend(comparison: Comparison) -> str:
    """Recommends a cell in one sentence: the fastest of those whose loss of success is surely small.

    Only cells with the baseline's clock and disturbance are candidates, because users cannot choose these. Empty if there is
    no other.
    """
    baseline = next(run for run in comparison.runs if run.loss is None)
    others = [run for run in comparison.runs if run.world == baseline.world and run.loss is not None]
    if not others:
        return ""
    # Bonferroni's correction, because among many cells one would pass by chance.
    confidence = 1 - 0.05 / len(others)
    safe = {run.label for run in others if run.loss and run.loss.upper(confidence) <= TOLERATED_LOSS}
    # Controllers of one sampler share its latency: take the one with the smallest loss.
    pick = min((run for run in (baseline, *others) if run is baseline or run.label in safe), key=_latency_and_loss)
    if pick is baseline:
        return (
            f"Pick {pick.label}: over {counted(baseline.summary.episodes, 'episode')} no faster sampler has been shown, with"
            f" 95 % confidence, to lose less than {TOLERATED_LOSS} success."
        )
    assert pick.loss is not None
    faster = _p50(baseline) / _p50(pick)
    times = "as fast as" if faster == 1 else f"{faster:.1f} times as fast as"
    return (
        f"Pick {pick.label}: the fastest ({_p50(pick):.1f} ms a plan for one robot, {times}"
        f" {baseline.label}) of those that lose less than {TOLERATED_LOSS} success against {baseline.label} on the same"
        f" seeds, with 95 % confidence for {counted(len(others), 'cell')} together (lost {pick.loss.loss:+.3f}, one-sided"
        f" bound {pick.loss.upper(confidence):+.3f})."
    )


def _latency_and_loss(run: ComparedRun) -> tuple[float, float]:
    return _p50(run), run.loss.loss if run.loss else 0.0


def _p50(run: ComparedRun) -> float:
    return run.summary.latency_ms_batch1.replan.p50


def _outcomes(comparison: Comparison) -> PageTable:
    """The main table: success and latency."""
    reward = ["reward (95 %)"] * comparison.graded
    header = ["cell", "success (95 %)", "lost at most", *reward, "plan p50 (ms)", "plan p99 (ms)", "rounds"]
    rows = []
    for name, run in _numbered(comparison):
        s, plan = run.summary, run.summary.latency_ms_batch1.replan
        rows.append(
            [
                name,
                interval(s.success),
                f"{run.loss.upper95:+.3f}" if run.loss else "baseline",
                *([interval(s.reward)] * comparison.graded),
                f"{plan.p50:.1f}",
                f"{plan.p99:.1f}",
                f"{s.solver.rounds_mean:.1f}",
            ]
        )
    remark = (
        "Success with Wilson's interval. Lost at most: the one-sided 95 % bound on the success lost on the same seeds."
        " Plan: one robot at a time. Rounds: a plan's, mean over all episodes."
    )
    return PageTable("Success and latency", header, rows, remark)


def _paired(comparison: Comparison) -> PageTable:
    reward = ["reward: difference"] * comparison.graded
    header = ["cell", "against", "success lost, paired (95 %)", "lost at most", "would have shown", *reward]
    rows = [
        [
            name,
            _number(comparison, run.against),
            f"{run.loss.loss:+.3f} ({run.loss.ci95[0]:+.3f} to {run.loss.ci95[1]:+.3f})",
            f"{run.loss.upper95:+.3f}",
            f"{run.detectable:.3f}" if run.detectable else "",
            *([interval(run.differences["reward"])] * comparison.graded),
        ]
        for name, run in _numbered(comparison)
        if run.loss
    ]
    remark = (
        "Against: the row that it is compared with, on the same seeds — the baseline's sampler, controller and horizon under"
        " the same clock, disturbance and limit of steps, and for these themselves under the baseline's clock, where there"
        " is that row. Lost: the paired loss of success with its 95 % interval, and at most: its one-sided 95 % bound"
        " (Bonett & Price 2012). Would have shown: the loss that this many seeds detect with 80 % power at 5 %, given how"
        " often the two disagreed. Difference: paired, bootstrapped."
    )
    return PageTable("Differences on the same seeds", header, rows, remark)


def _motion(comparison: Comparison) -> PageTable:
    """The motion of the robot; columns for disturbances and waiting only if there were any."""
    task = find_task(comparison.runs[0].summary.task).task
    unit = find_convention(task.conventions[0]).unit
    runs = comparison.runs
    disturbed = any(run.summary.disturbed for run in runs)
    late = any(run.summary.steps_held or run.steps["replan_lateness"].max() for run in runs)
    header = ["cell", "steps", "steps: difference", f"jerk, {unit}/s³", "jerk: difference"]
    header += ["disturbed"] * disturbed + ["late by", "waiting"] * late
    rows = []
    for name, run in _numbered(comparison):
        s = run.summary
        moved = [f"{run.episodes['steps'].mean():.0f}", interval(run.differences["steps"], 0) if run.loss else ""]
        moved += [interval(s.jerk, 0), interval(run.differences["jerk"], 0) if run.loss else ""]
        waited = [f"{run.steps['replan_lateness'].mean():.1f}", f"{100 * s.steps_held:.0f} %"]
        rows.append([name, *moved, *[f"{100 * s.disturbed:.0f} %"] * disturbed, *(waited if late else [])])
    remark = "Steps: control steps of an episode. Jerk: of the commanded path. Difference: paired, bootstrapped, 95 %."
    remark += " Disturbed: share of episodes in which the disturbance acted." * disturbed
    remark += (
        " Late by: control steps from an observation until its chunk can be executed. Waiting: share of control steps"
        " without an action to execute."
    ) * late
    return PageTable("How the robot moved", header, rows, remark)


def _latencies(comparison: Comparison) -> PageTable:
    header = ["cell", "plan p50", "plan p95", "plan p99", "plan max", "jitter", "step p50", "step p99", "step max", "plans"]
    rows = []
    for name, run in _numbered(comparison):
        plan, step = run.summary.latency_ms_batch1.replan, run.summary.latency_ms_batch1.step
        times = (plan.p50, plan.p95, plan.p99, plan.max, plan.jitter, step.p50, step.p99, step.max)
        rows.append([name, *(f"{t:.1f}" for t in times), str(run.summary.plans_batch1)])
    first = comparison.runs[0].summary
    remark = (
        f"Milliseconds, one robot at a time with all cores, engine {first.engine} {first.precision}, without clock or"
        ' disturbance, over the number of plans in column "plans"; step: a control step; jitter: standard deviation of a'
        " plan's latency."
    )
    return PageTable("Latency", header, rows, remark)


def _cost(comparison: Comparison) -> PageTable:
    header = ["cell", "rounds", "evaluations", "s an episode (95 %)", "denoised by"]
    rows = []
    for name, run in _numbered(comparison):
        s = run.summary
        counts = [f"{s.solver.rounds_mean:.1f}", f"{s.solver.evaluations_mean:.0f}"]
        rows.append([name, *counts, interval(s.seconds_per_episode_batch1, 2), _denoised_by(run)])
    remark = (
        "Rounds and evaluations: means over all plans of all episodes; s an episode: wall-clock time with one robot,"
        " simulation included: the steps of all episodes times the time of a step."
    )
    return PageTable("What a plan takes", header, rows, remark)


def _numbered(comparison: Comparison) -> list[tuple[str, ComparedRun]]:
    return [(f"{i}. {run.label}", run) for i, run in enumerate(comparison.runs, 1)]


def _number(comparison: Comparison, label: str | None) -> str:
    """The value of a row."""
    return next((str(i) for i, run in enumerate(comparison.runs, 1) if run.label == label), "")


def _denoised_by(run: ComparedRun) -> str:
    """The samplers that `auto` chose, in the episodes and for a single robot."""
    samplers = (run.summary.sampler, run.summary.sampler_batch1)
    batch, alone = (sampler["settings"].get("chosen", sampler["name"]) for sampler in samplers)
    return batch if batch == alone else f"{batch}; alone {alone}"


def _power(comparison: Comparison) -> str:
    detectable = [run.detectable for run in comparison.runs if run.detectable]
    first = comparison.runs[0].summary
    threads = counted(first.threads, "thread")
    together = f"Episodes ran in groups of {first.envs} on {threads}, with the same seeds in every cell."
    if not detectable:
        return together
    least, most = min(detectable), max(detectable)
    return f"{together} A loss of {least:.3f} to {most:.3f} success would have been found with 80 % power."


def _plots(comparison: Comparison) -> list[Picture]:
    pictures = []
    if len({run.sampler for run in comparison.runs}) > 1:
        pareto = io.BytesIO()
        plot_reward_against_latency(comparison, pareto)
        what = "reward and success" if comparison.graded else "success"
        pictures.append(Picture(".png", f"{what} against latency of a plan", pareto.getvalue()))
    clocks = io.BytesIO()
    if plot_clocks(comparison, clocks):
        caption = "success against the latency that the clock gave every plan"
        pictures.append(Picture("-clocks.png", caption, clocks.getvalue()))
    return pictures


def strip_latency(clock: str, p50_ms: float) -> str:
    """The latency of an episode's plans: the clock's, or else as measured."""
    kind, _, ms = clock.partition(":")
    return f"every plan {float(ms):g} ms" if kind == "fixed" else f"plan p50 {p50_ms:.1f} ms"


def _strips(comparison: Comparison, convention: str) -> list[Picture]:
    """Film strips of a success and a failure of each cell, if it has them."""
    pictures = []
    for i, run in enumerate(comparison.runs):
        summary = run.summary
        environment = EnvironmentConfig(summary.task, convention, summary.disturbance, summary.max_steps)
        for outcome, name in ((True, "success"), (False, "failure")):
            seeds = run.episodes.loc[run.episodes["success"] == outcome, "seed"]
            if len(seeds):
                strip = film_strip(environment, int(seeds.iloc[0]), run.steps, summary.execute)
                right = f"seed {seeds.iloc[0]} · {name} · {strip_latency(summary.clock, _p50(run))}"
                strip = headed(strip, f"{summary.task} · {run.label}", right, HEADLINE)
                png = imageio.imwrite("<bytes>", strip, format="png")
                pictures.append(Picture(f"-strips/{i}-{name}.png", f"{run.label}: {name}, seed {seeds.iloc[0]}", png))
    return pictures
