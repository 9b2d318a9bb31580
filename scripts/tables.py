"""Tables for the terminal."""

from rich.box import SIMPLE_HEAD
from rich.table import Table

from paradp.rollouts.evaluation.comparison import Comparison
from paradp.rollouts.statistics import interval
from paradp.scripts.families import wrapped

# Largest number of runs whose measurements fit side by side into 80 columns.
BESIDE = 3


def comparison_table(comparison: Comparison) -> Table:
    """A table with one column per run and one row per measurement; for many runs, `evaluation_table`."""
    if len(comparison.runs) > BESIDE:
        return evaluation_table(comparison)
    table = Table(title=comparison.title)
    table.add_column("")
    for run in comparison.runs:
        table.add_column(run.label, justify="right", overflow="fold")
    for row in comparison.rows():
        table.add_row(*row)
    return table


def evaluation_table(comparison: Comparison) -> Table:
    """A table with one row per cell, and columns that fit into 80 characters; long names continue in the next line."""
    caption = f"lost ≤: success lost against {comparison.baseline} is less, 95 %; plans of one robot, ms"
    table = Table(title=comparison.title, caption=caption, box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    table.add_column("cell", no_wrap=True)
    for name in ("success (95 %)", *["reward"] * comparison.graded, "lost ≤", "p50", "p99", "rounds"):
        table.add_column(name, justify="right", no_wrap=True)
    for run in comparison.runs:
        s, plan = run.summary, run.summary.latency_ms_batch1.replan
        table.add_row(
            wrapped(run.label, 24),
            interval(s.success, 2),
            *([f"{s.reward.mean:.3f}"] * comparison.graded),
            f"{run.loss.upper95:+.3f}" if run.loss else "",
            _ms(plan.p50),
            _ms(plan.p99),
            f"{s.solver.rounds_mean:.1f}",
        )
    return table


def _ms(ms: float) -> str:
    return f"{ms:.1f}" if ms < 100 else f"{ms:.0f}"
