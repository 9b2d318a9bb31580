"""Tables (parquet): rows, columns and sizes are checked in the file's footer before a column is read."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from paradp.policy.files.limits import MOST_CELLS, TABLE_BYTES, check_expansion
from paradp.policy.files.reading import open_regular

if TYPE_CHECKING:
    import pandas as pd


def read_table(path: Path, columns: Sequence[str] = (), inside: bool = True) -> "pd.DataFrame":
    """A table.

    Args:
        path: the file.
        columns: those that it must have.
        inside: see `open_regular`.

    Raises:
        ValueError: it is no such file, is cut short, too large, or lacks a column; the message names the file.
        OSError: it is not there or may not be read.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open_regular(path, TABLE_BYTES, inside) as (file, size):
        try:
            footer = pq.read_metadata(file)
            if footer.num_rows * footer.num_columns > MOST_CELLS:
                raise ValueError(f"it claims {footer.num_rows} rows of {footer.num_columns} columns")
            check_expansion(sum(footer.row_group(i).total_byte_size for i in range(footer.num_row_groups)), size)
            file.seek(0)
            table = pd.read_parquet(file)
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is no table that can be read, or is cut short: {error}") from error
    if lacking := [name for name in columns if name not in table.columns]:
        raise ValueError(f"{path} lacks the column {lacking[0]!r}")
    return table
