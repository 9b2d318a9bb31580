"""Pages that hold several tasks and are measured task by task: what is new replaces a task's rows, and all others stay."""

from pathlib import Path

from paradp.envs import all_tasks
from paradp.policy.wording import counted
from paradp.scripts.studies.published import cells_of

# Of a table: cells as they are written, of which the first is the task.
Rows = list[list[str]]


def merged(tables: list[Rows], page: Path) -> list[Rows]:
    """New tables, and the rows that a page has of other tasks, in the order of the tasks.

    Args:
        tables: of the tasks measured now, in the order of the page's.
        page: where they will be; nothing is kept where it does not exist yet.

    Raises:
        ValueError: the page has another number of tables, as one of an earlier version may.
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
