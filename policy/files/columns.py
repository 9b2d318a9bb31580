"""Reads columns of large tables (parquet) as arrays: numbers, lists of equal length, and small files in cells.

As in tables.py, the declared sizes in footer and pages are checked first. Cells are read a few at a time, because with a
dictionary every row can refer to the largest one.
"""

from collections.abc import Iterator, Sequence
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
from paradp.policy.files.tables import LackingColumns, TableLimits, check_pages, check_size, open_table

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

LARGE = TableLimits(FRAMES_BYTES, FRAMES_FOOTER_BYTES, FRAMES_PAGES)


def read_columns(path: Path, columns: Sequence[str]) -> dict[str, np.ndarray]:
    """Reads columns of numbers: `[rows]`, or `[rows, n]` if each cell is a list of n numbers.

    Raises:
        ValueError: the file is not such a table, is truncated or too large, lacks a column, or a column has other contents
            or empty cells; the message names the file and the column.
        OSError: it is missing or cannot be read.
    """
    with open_table(path, limits=LARGE) as (table, file, size):
        if lacking := [name for name in columns if name not in table.schema_arrow.names]:
            raise LackingColumns(f"{path} lacks the column {lacking[0]!r:.100}")
        check_size(table, file, size, LARGE)
        read = table.read(list(columns), use_threads=False)
        return {name: _array(path, name, read.column(name)) for name in columns}


def read_cells(path: Path, column: str) -> Iterator[bytes]:
    """Reads the files in the cells of a column, in the form of the package `datasets`: `{"bytes": …, "path": …}`.

    Raises:
        ValueError: as of `read_columns`, or a cell is empty or too large.
        OSError: it is missing or cannot be read.
    """
    with open_table(path, limits=LARGE) as (table, file, size):
        leaf = f"{column}.bytes"
        paths = [table.metadata.schema.column(i).path for i in range(table.metadata.num_columns)]
        if leaf not in paths or not _is_cell(table.schema_arrow.field(column).type):
            raise LackingColumns(f"{path} has no column {column!r:.100} of images")
        check_size(table, file, size, LARGE)
        for group in range(table.metadata.num_row_groups):
            rows = _rows_at_once(table.metadata.row_group(group).column(paths.index(leaf)), file, size)
            for batch in table.iter_batches(rows, [group], [leaf], use_threads=False):
                for cell in batch.column(0).field("bytes"):
                    if not cell.is_valid or len(content := cell.as_py()) > PICTURE_BYTES:
                        raise LackingColumns(f"{path} has an empty cell, or one that is too large, in {column!r:.100}")
                    yield content


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
