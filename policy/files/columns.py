"""Reads columns of large tables (parquet) as arrays: numbers, lists of equal length, and small files in cells.

As in tables.py, the declared sizes in footer and pages are checked first. Cells are read a few at a time, because with a
dictionary every row can refer to the largest one.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from paradp.policy.files.limits import (
    CELL_PAGE_BYTES,
    CELLS_MEMORY,
    FRAMES_BYTES,
    FRAMES_FOOTER_BYTES,
    FRAMES_PAGES,
    PICTURE_BYTES,
)
from paradp.policy.files.tables import LackingColumns, TableLimits, check_pages, check_size, open_table, table_errors

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

LARGE = TableLimits(FRAMES_BYTES, FRAMES_FOOTER_BYTES, FRAMES_PAGES)


def read_columns(path: Path, columns: Sequence[str], root: Path) -> dict[str, np.ndarray]:
    """Reads columns of numbers: `[rows]`, or `[rows, n]` if each cell is a list of n numbers.

    Args:
        path: the table.
        columns: the columns.
        root: the data set's folder, which the table must lie in.

    Raises:
        ValueError: the file lies elsewhere, is not such a table, is truncated or too large, lacks a column, or a column has
            other contents or empty cells; the message names the file and the column.
        OSError: it is missing or cannot be read.
    """
    with open_table(path, limits=LARGE, root=root) as (table, file, size):
        if lacking := [name for name in columns if name not in table.schema_arrow.names]:
            raise LackingColumns(f"{path} lacks the column {lacking[0]!r:.100}")
        check_size(table, file, size, LARGE)
        read = table.read(list(columns), use_threads=False)
        return {name: _array(path, name, read.column(name)) for name in columns}


class Cells:
    """Reads files in the cells of a column, as the package `datasets` stores images: `{"bytes": …, "path": …}`.

    Rows are read in any order; consecutive ones need no seeking. The required memory does not depend on the file's size.

    Args:
        path: the table.
        column: its column.
        root: the data set's folder, which the table must lie in.

    Raises:
        ValueError: as of `read_columns`.
        OSError: the file is missing or cannot be read.
    """

    def __init__(self, path: Path, column: str, root: Path):
        self.path, self._column = path, column
        with ExitStack() as opened:
            self._table, self._file, self._size = opened.enter_context(open_table(path, limits=LARGE, root=root))
            leaf = f"{column}.bytes"
            paths = [self._table.metadata.schema.column(i).path for i in range(self._table.metadata.num_columns)]
            if leaf not in paths or not _is_cell(self._table.schema_arrow.field(column).type):
                raise LackingColumns(f"{path} has no column {column!r:.100} of images")
            check_size(self._table, self._file, self._size, LARGE)
            self._opened = opened.pop_all()
        self._leaf, self._place = leaf, paths.index(leaf)
        groups = range(self._table.metadata.num_row_groups)
        self._begins = np.cumsum([0, *(self._table.metadata.row_group(group).num_rows for group in groups)])
        self._at = 0
        self._rows = self._from(0)

    def read(self, begin: int, end: int) -> Iterator[bytes]:
        """Reads the cells of some rows.

        Raises:
            ValueError: the table has fewer rows, is damaged, or a cell is empty or too large.
        """
        with table_errors(self.path):
            if begin != self._at:
                self._at, self._rows = begin, self._from(begin)
            for _ in range(end - begin):
                if (cell := next(self._rows, None)) is None:
                    raise LackingColumns(f"{self.path} ends before row {self._at} of {self._column!r:.100}")
                self._at += 1
                yield cell

    def close(self) -> None:
        """Closes the file."""
        self._opened.close()

    def _from(self, row: int) -> Iterator[bytes]:
        first = max(int(np.searchsorted(self._begins, row, "right")) - 1, 0)
        skipped = row - int(self._begins[first])
        for group in range(first, self._table.metadata.num_row_groups):
            chunk = self._table.metadata.row_group(group).column(self._place)
            rows = _rows_at_once(chunk, self._file, self._size)
            for batch in self._table.iter_batches(rows, [group], [self._leaf], use_threads=False):
                cells = batch.column(0).field("bytes")
                for cell in cells[skipped:] if skipped else cells:
                    if not cell.is_valid or len(content := cell.as_py()) > PICTURE_BYTES:
                        raise LackingColumns(f"{self.path} has an empty cell, or one that is too large, in {self._column!r}")
                    yield content
                skipped = max(0, skipped - len(cells))


def _array(path: Path, name: str, column: "pa.ChunkedArray") -> np.ndarray:
    import pyarrow.types as types

    kind, values = column.type, column.combine_chunks()
    shape: tuple[int, ...] = (len(column),)
    if types.is_fixed_size_list(kind) or types.is_list(kind):
        if values.null_count:
            raise LackingColumns(f"{path} has empty cells in {name!r:.100}")
        lengths = np.unique(values.value_lengths().to_numpy(zero_copy_only=False))
        if len(lengths) > 1:
            raise LackingColumns(f"{path} has lists of {lengths[0]} and of {lengths[-1]} numbers in {name!r:.100}")
        shape = (len(column), int(lengths[0]) if len(lengths) else 0)
        values, kind = values.flatten(), kind.value_type
    if not any(is_one(kind) for is_one in (types.is_integer, types.is_floating, types.is_boolean)):
        raise LackingColumns(f"{path} has a column {name!r:.100} that holds no numbers")
    if values.null_count:
        raise LackingColumns(f"{path} has empty cells in {name!r:.100}")
    flat: np.ndarray = values.to_numpy(zero_copy_only=False)
    return flat.reshape(shape)


def _is_cell(kind: "pa.DataType") -> bool:
    import pyarrow.types as types

    return types.is_struct(kind) and any(field.name == "bytes" and types.is_binary(field.type) for field in kind)


def _rows_at_once(chunk: "pq.ColumnChunkMetaData", file: BinaryIO, size: int) -> int:
    """The number of rows that fit into memory even if each has the size of the whole dictionary."""
    found = check_pages(chunk, file, size, FRAMES_PAGES)
    if max(page.bytes for page in found) > CELL_PAGE_BYTES:
        raise ValueError(f"a page of images has more than {CELL_PAGE_BYTES} bytes")
    largest = max((page.bytes for page in found if page.dictionary), default=0)
    return max(1, min(256, CELLS_MEMORY // max(largest, 1)))
