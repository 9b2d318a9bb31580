"""Tables that fit a terminal."""

from rich.table import Table

from paradp.rollouts.comparison import Compared, Comparison


def comparison_table(comparison: Comparison) -> Table:
    """One column a run, one row a measurement."""
    first = comparison.runs[0].summary
    table = Table(title=f"{first.task}: {first.episodes} episodes, seeds {first.seed} to {first.seed + first.episodes - 1}")
    table.add_column("")
    for run in comparison.runs:
        table.add_column(run.label, justify="right")
    columns = [_measurements(run) for run in comparison.runs]
    for name in columns[0]:
        table.add_row(name, *(column[name] for column in columns))
    return table


def _measurements(run: Compared) -> dict[str, str]:
    s = run.summary
    alone, batch = s.latency_ms_batch1, s.latency_ms
    loss = run.loss
    return {
        "success (95 %)": f"{s.success.mean:.3f} ({s.success.ci95[0]:.3f}–{s.success.ci95[1]:.3f})",
        "reward (95 %)": f"{s.reward.mean:.3f} ({s.reward.ci95[0]:.3f}–{s.reward.ci95[1]:.3f})",
        "success lost, paired (95 % below)": "baseline" if loss is None else f"{loss.loss:+.3f} ({loss.upper95:+.3f})",
        "plan, 1 environment: p50 / p95 ms": f"{alone.replan.p50:.0f} / {alone.replan.p95:.0f}",
        f"plan, up to {s.envs} environments: p50 / p95 ms": f"{batch.replan.p50:.0f} / {batch.replan.p95:.0f}",
        "control step, 1 environment: mean / p99 ms": f"{alone.step.mean:.1f} / {alone.step.p99:.0f}",
        "rounds a plan": f"{s.solver.rounds_mean:.1f}",
        "evaluations a plan": f"{s.solver.evaluations_mean:.0f}",
        "seconds an episode": f"{s.seconds_per_episode:.1f}",
        "control steps a second": f"{s.throughput_steps_per_s:.0f}",
    }
