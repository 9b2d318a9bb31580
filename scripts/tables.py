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
