"""Reads tables of numbers (parquet): checks the sizes in the footer and the page headers before reading a column.

Text columns are never read: every row can refer to the same long text at the cost of one bit. Our tables have no texts.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from paradp.policy.files.limits import MOST_CELLS, MOST_PAGES, TABLE_BYTES, TABLE_FOOTER_BYTES, check_expansion
from paradp.policy.files.parquet_pages import ParquetPage, pages
from paradp.policy.files.reading import open_regular
from paradp.policy.wording import counted

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq


@dataclass(frozen=True)
class TableLimits:
    """Limits of a table: bytes of the file and of its footer, and number of pages."""

    bytes: int = TABLE_BYTES
    footer: int = TABLE_FOOTER_BYTES
    pages: int = MOST_PAGES


OURS = TableLimits()
NUMBER_BYTES = 8
LIST_BYTES = 128  # a numpy array in each row
# Our tables are compressed with snappy, which expands its input at most about twenty times. Other codecs, such as zstd, have
# no such bound, and their decoders do not check the size in the footer.
COMPRESSION = ("UNCOMPRESSED", "SNAPPY")


def column_names(path: Path, inside: bool = True) -> list[str]:
    """The names of all columns of a table, including those that are not read; arguments and errors as of `read_table`."""
    with open_table(path, inside) as (table, _, _):
        return table.schema_arrow.names


def read_table(path: Path, columns: Sequence[str] = (), inside: bool = True) -> "pd.DataFrame":
    """The columns of a table with numbers, booleans or lists of them; skips other columns.

    Args:
        path: the file.
        columns: required columns.
        inside: see `open_regular`.

    Raises:
        ValueError: the file is not parquet, is truncated, too large, or lacks columns; the message names the file and them.
        OSError: the file is missing or cannot be read.
    """
    with open_table(path, inside) as (table, file, size):
        names = table.schema_arrow.names
        read = [field.name for field in table.schema_arrow if _is_number(field.type)]
        if lacking := [name for name in columns if name not in names]:
            raise LackingColumns(
                f"{path} lacks the {'column' if len(lacking) == 1 else 'columns'} {', '.join(map(repr, lacking))}"
            )
        if others := [name for name in columns if name not in read]:
            raise LackingColumns(f"{path} has a column {others[0]!r} that holds no numbers")
        if len(set(names)) < len(names):
            raise ValueError("two columns have the same name")
        check_size(table, file, size)
        return table.read(read, use_threads=False).to_pandas(ignore_metadata=True)


class LackingColumns(ValueError):
    """The table is readable, but does not have the requested columns."""


@contextmanager
def open_table(
    path: Path, inside: bool = True, limits: TableLimits = OURS, root: Path | None = None
) -> "Iterator[tuple[pq.ParquetFile, BinaryIO, int]]":
    """Opens a table; yields it, its file and the file's size. Only the sizes of file and footer are checked.

    `inside` and `root` are as in `open_regular`.

    Raises:
        ValueError, OSError: as `read_table`, also for errors inside the `with` block.
    """
    import pyarrow.parquet as pq

    with open_regular(path, limits.bytes, inside, root) as (file, size), table_errors(path):
        file.seek(max(size - 8, 0))
        if int.from_bytes(file.read(4), "little") > limits.footer:
            raise ValueError(f"its footer is longer than {limits.footer} bytes")
        file.seek(0)
        yield pq.ParquetFile(file), file, size


@contextmanager
def table_errors(path: Path) -> Iterator[None]:
    """Errors of pyarrow on a damaged table become a ValueError that names the file; `LackingColumns` stay as they are."""
    import pyarrow as pa

    try:
        yield
    except LackingColumns:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"{path} is not a readable table, or is cut short: {error}") from error


def _is_number(kind: "pa.DataType") -> bool:
    import pyarrow.types as types

    kind = kind.value_type if types.is_list(kind) else kind
    return any(is_one(kind) for is_one in (types.is_integer, types.is_floating, types.is_boolean, types.is_null))


def check_size(table: "pq.ParquetFile", file: BinaryIO, size: int, limits: TableLimits = OURS) -> None:
    """Checks the declared number of rows times columns, and of values in footer and pages: a list has several per row.

    Raises:
        ValueError: a declared number is too large.
    """
    footer = table.metadata
    if footer.num_rows * footer.num_columns > MOST_CELLS:
        raise ValueError(f"it claims {counted(footer.num_rows, 'row')} of {counted(footer.num_columns, 'column')}")
    groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
    chunks = [group.column(i) for group in groups for i in range(group.num_columns)]
    if other := {chunk.compression for chunk in chunks} - {*COMPRESSION}:
        raise ValueError(f"it is compressed by {min(other)}; write it with snappy, the usual one")
    values = max(sum(chunk.num_values for chunk in chunks), footer.num_rows * footer.num_columns)
    lists = sum(table.schema.column(i).max_repetition_level > 0 for i in range(footer.num_columns))
    check_expansion(NUMBER_BYTES * values + LIST_BYTES * lists * footer.num_rows, size)
    left, unpacked = limits.pages, 0
    for chunk in chunks:
        found = check_pages(chunk, file, size, left)
        left, unpacked = left - len(found), unpacked + sum(page.bytes for page in found)
    check_expansion(unpacked, size)


def check_pages(chunk: "pq.ColumnChunkMetaData", file: BinaryIO, size: int, most: int) -> list[ParquetPage]:
    """Returns the pages of a column, after checking that they have as many values as the footer declares.

    Raises:
        ValueError: the numbers differ, the pages are not inside the file, or there are too many.
    """
    begin = min(place for place in (chunk.dictionary_page_offset, chunk.data_page_offset) if place)
    end = begin + chunk.total_compressed_size
    if not 0 <= begin <= end <= size:
        raise ValueError(f"the column {chunk.path_in_schema!r} is not in the file")
    found = list(islice(pages(file, begin, end), most + 1))
    if len(found) > most:
        raise ValueError("it has too many pages")
    if sum(page.values for page in found if not page.dictionary) != chunk.num_values:
        raise ValueError(f"the pages of {chunk.path_in_schema!r} claim another number of values than the footer")
    if any(page.values > page.bytes for page in found if page.dictionary):  # each takes a byte at least
        raise ValueError(f"a dictionary of {chunk.path_in_schema!r} claims more values than it has bytes")
    return found
