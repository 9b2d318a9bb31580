"""Tables that fit a terminal."""

from rich.table import Table

from paradp.rollouts.comparison import Comparison


def comparison_table(comparison: Comparison) -> Table:
    """One column a run, one row a measurement."""
    table = Table(title=comparison.title)
    table.add_column("")
    for run in comparison.runs:
        table.add_column(run.label, justify="right")
    for row in comparison.rows():
        table.add_row(*row)
    return table


def evaluation_table(comparison: Comparison) -> Table:
    """One row a cell, the columns that fit a terminal."""
    table = Table(title=comparison.title)
    table.add_column("cell", overflow="fold")
    for name in ("success", "95 %", "lost ≤", "steps", "plan ms", "p99", "rounds"):
        table.add_column(name, justify="right")
    for run in comparison.runs:
        s, plan = run.summary, run.summary.latency_ms_batch1.replan
        table.add_row(
            run.label,
            f"{s.success.mean:.3f}",
            f"{s.success.ci95[0]:.2f}–{s.success.ci95[1]:.2f}",
            f"{run.loss.upper95:+.3f}" if run.loss else "",
            f"{run.episodes['steps'].mean():.0f}",
            f"{plan.p50:.1f}",
            f"{plan.p99:.1f}",
            f"{s.solver.rounds_mean:.1f}",
        )
    return table
