"""Pages about several tasks that are measured one at a time: new results replace the rows of their task only."""

from pathlib import Path

from paradp.envs import all_tasks
from paradp.policy.wording import counted
from paradp.scripts.studies.published import cells_of

# The rows of a table: lists of cells as printed, beginning with the task.
Rows = list[list[str]]


def merged(tables: list[Rows], page: Path) -> list[Rows]:
    """Merges new tables with the rows of other tasks on an existing page, in the order of the tasks.

    Args:
        tables: tables of the tasks measured now, in the same order as on the page.
        page: the page; it need not exist yet.

    Raises:
        ValueError: the page has another number of tables, for example because an earlier version of paradp wrote it.
    """
    if not page.exists():
        return tables
    earlier = [rows for _, *rows in cells_of(page.read_text())]
    if len(earlier) != len(tables):
        raise ValueError(
            f"{page} has {counted(len(earlier), 'table')} where {len(tables)} belong: it is of another version; remove it"
        )
    measured = {row[0] for rows in tables for row in rows}
    order = list(all_tasks())
    return [
        sorted(new + [row for row in old if row[0] not in measured], key=lambda row: order.index(row[0]))
        for new, old in zip(tables, earlier, strict=True)
    ]
