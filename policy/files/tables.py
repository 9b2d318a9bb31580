"""Tables of numbers (parquet): what a file claims is checked in its footer before a column is read.

Texts are never read: one long text can be claimed by every row, at the cost of a bit each. Our tables of runs hold none.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from paradp.policy.files.limits import MOST_CELLS, TABLE_BYTES, TABLE_FOOTER_BYTES, check_expansion
from paradp.policy.files.reading import open_regular
from paradp.policy.wording import counted

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

NUMBER_BYTES = 8
# Snappy, which our tables are compressed with, expands its input at most some twenty times. Others, such as zstd, have no
# such bound, and nothing holds them to the size that the footer claims.
COMPRESSION = ("UNCOMPRESSED", "SNAPPY")


def column_names(path: Path, inside: bool = True) -> list[str]:
    """Names of a table's columns, of those too that are not read; arguments and errors as of `read_table`."""
    with _open(path, inside) as (file, _):
        return file.schema_arrow.names


def read_table(path: Path, columns: Sequence[str] = (), inside: bool = True) -> "pd.DataFrame":
    """The columns of a table that hold numbers, truth values or lists of them; others are left out.

    Args:
        path: the file.
        columns: those that it must have.
        inside: see `open_regular`.

    Raises:
        ValueError: it is no such file, is cut short, too large, or lacks columns; the message names the file and those.
        OSError: it is not there or may not be read.
    """
    with _open(path, inside) as (file, size):
        names = file.schema_arrow.names
        read = [field.name for field in file.schema_arrow if _is_number(field.type)]
        if lacking := [name for name in columns if name not in names]:
            raise _Lacking(
                f"{path} lacks the {'column' if len(lacking) == 1 else 'columns'} {', '.join(map(repr, lacking))}"
            )
        if others := [name for name in columns if name not in read]:
            raise _Lacking(f"{path} has a column {others[0]!r} that holds no numbers")
        if len(set(names)) < len(names):
            raise ValueError("two columns have the same name")
        _check_size(file, size)
        return file.read(read, use_threads=False).to_pandas(ignore_metadata=True)


class _Lacking(ValueError):
    """The table can be read, and is not what is asked for."""


@contextmanager
def _open(path: Path, inside: bool) -> "Iterator[tuple[pq.ParquetFile, int]]":
    """A table and the size of its file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open_regular(path, TABLE_BYTES, inside) as (file, size):
        try:
            file.seek(max(size - 8, 0))
            if int.from_bytes(file.read(4), "little") > TABLE_FOOTER_BYTES:
                raise ValueError(f"its footer is longer than {TABLE_FOOTER_BYTES} bytes")
            file.seek(0)
            yield pq.ParquetFile(file), size
        except _Lacking:
            raise
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"{path} is no table that can be read, or is cut short: {error}") from error


def _is_number(kind: "pa.DataType") -> bool:
    import pyarrow.types as types

    kind = kind.value_type if types.is_list(kind) else kind
    return any(is_one(kind) for is_one in (types.is_integer, types.is_floating, types.is_boolean, types.is_null))


def _check_size(file: "pq.ParquetFile", size: int) -> None:
    """Rows times columns as well as the values that are claimed: a list holds several in a row."""
    footer = file.metadata
    if footer.num_rows * footer.num_columns > MOST_CELLS:
        raise ValueError(f"it claims {counted(footer.num_rows, 'row')} of {counted(footer.num_columns, 'column')}")
    groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
    chunks = [group.column(i) for group in groups for i in range(group.num_columns)]
    if other := {chunk.compression for chunk in chunks} - {*COMPRESSION}:
        raise ValueError(f"it is compressed by {min(other)}; write it with snappy, the usual one")
    values = max(sum(chunk.num_values for chunk in chunks), footer.num_rows * footer.num_columns)
    check_expansion(NUMBER_BYTES * values, size)
    check_expansion(sum(chunk.total_uncompressed_size for chunk in chunks), size)
