"""Reads the tables of pages in docs/results, so that pictures can be drawn again without measuring again."""

import re
from pathlib import Path

from paradp.rollouts.statistics import Estimate

Row = dict[str, str]
NUMBER = r"[+-]?\d+(?:\.\d+)?"
ESTIMATE = re.compile(rf"({NUMBER}) ?×? \(({NUMBER})(?:–| to )({NUMBER})\)")


class Page:
    """A page of results.

    Raises:
        ValueError: a requested table does not exist.
    """

    def __init__(self, path: Path):
        self._path = path
        self.text = path.read_text()
        self.tables = _tables(self.text)

    def table(self, *columns: str) -> list[Row]:
        """The first table with all these columns."""
        asked = {column.strip("`") for column in columns}
        found = next((rows for rows in self.tables if rows[0].keys() >= asked), None)
        if found is None:
            raise ValueError(f"{self._path} has no table with the columns {', '.join(columns)}")
        return found

    def number(self, pattern: str) -> float:
        """The number in the first group of a regular expression, from its first match in the text."""
        found = re.search(pattern, self.text)
        if found is None:
            raise ValueError(f"{self._path} does not contain {pattern!r}")
        return float(found[1])


def estimate(cell: str) -> Estimate:
    """Reads a cell such as `0.950 (0.910–0.973)`, `0.0003 (-0.0026 to 0.0037)` or `1.17 × (1.01–1.35)`.

    Raises:
        ValueError: the cell has another form.
    """
    found = ESTIMATE.match(cell)
    if found is None:
        raise ValueError(f"{cell!r} is not a value with its interval")
    mean, low, high = map(float, found.groups())
    return Estimate(mean, (low, high))


def cells_of(text: str) -> list[list[list[str]]]:
    """All tables as lists of rows of cells. The first row is the header; the separator below it is left out."""
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    tables = [[[cell.strip() for cell in line.split("|")[1:-1]] for line in block.splitlines()] for block in blocks]
    return [[header, *rows] for header, _, *rows in tables]


def _tables(text: str) -> list[list[Row]]:
    """All non-empty tables, as rows of column → cell. A column without a name is named by its index."""
    tables = []
    for header, *rows in cells_of(text):
        names = [name.strip("`") or str(i) for i, name in enumerate(header)]
        if rows:
            tables.append([dict(zip(names, (cell.strip("`") for cell in row), strict=True)) for row in rows])
    return tables
