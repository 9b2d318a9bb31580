"""A page of several tasks that are measured one at a time."""

from pathlib import Path

import pytest

from paradp.scripts.report import markdown_table
from paradp.scripts.studies.by_task import merged

HEADER = ["task", "value"]


def page_of(path: Path, *tables: list[list[str]]) -> Path:
    path.write_text("\n\n".join(["# A page", *(markdown_table(HEADER, rows) for rows in tables), "A line.\n"]))
    return path


def test_a_task_measured_again_replaces_its_rows_and_leaves_the_others(tmp_path):
    page = page_of(tmp_path / "page.md", [["square", "`a`"], ["can", "0.5 (0.4–0.6)"]], [["square", ""], ["square", "2"]])
    best, every = merged([[["square", "new"]], [["square", "3"]]], page)
    assert best == [["square", "new"], ["can", "0.5 (0.4–0.6)"]]
    assert every == [["square", "3"]]


def test_tasks_keep_their_order_whichever_was_measured_last(tmp_path):
    page = page_of(tmp_path / "page.md", [["pusht", "1"], ["stack", "2"]])
    (rows,) = merged([[["square", "3"], ["lift", "4"]]], page)
    assert [row[0] for row in rows] == ["square", "lift", "stack", "pusht"]


def test_a_page_with_other_tables_is_refused(tmp_path):
    page = page_of(tmp_path / "page.md", [["square", "1"]])
    with pytest.raises(ValueError, match="has 1 table where 2 belong"):
        merged([[], []], page)


def test_the_first_page_needs_no_earlier_one(tmp_path):
    assert merged([[["square", "1"]]], tmp_path / "none.md") == [[["square", "1"]]]
