"""Writes the tables of a LeRobotDataset with pyarrow: frames, episodes and tasks."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from paradp.bridges.lerobot_data.columns import Columns
from paradp.bridges.lerobot_data.layout import COUNTERS
from paradp.policy.files.writing import naming_file

if TYPE_CHECKING:
    import pyarrow as pa


class TableFile:
    """A parquet file to which tables are appended as separate row groups, so that an episode can be read alone."""

    def __init__(self, path: Path, schema: "pa.Schema"):
        import pyarrow.parquet as pq

        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")
        self._writer = pq.ParquetWriter(self._file, schema, compression="snappy", use_dictionary=False)

    def add(self, table: "pa.Table") -> None:
        """Raises:
        OSError: it cannot be written, such as on a full disk.
        """
        with naming_file(self.path):
            self._writer.write_table(table)

    @property
    def bytes(self) -> int:
        """Number of bytes written so far."""
        return self._file.tell()

    def __enter__(self) -> "TableFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with naming_file(self.path):
            try:
                self._writer.close()
            finally:
                self._file.close()


def frame_schema(columns: Columns) -> "pa.Schema":
    """Returns the schema of the frames, with metadata that mark image columns for the Hub and the package `datasets`."""
    import pyarrow as pa

    fields, described = {}, {}
    for key, parts in columns.vectors.items():
        size = sum(parts.values())
        # Features of a single number are stored as numbers, not lists, as LeRobot reads them.
        fields[key] = pa.float32() if size == 1 else pa.list_(pa.float32(), size)
        number = {"dtype": "float32", "_type": "Value"}
        described[key] = number if size == 1 else {"feature": number, "length": size, "_type": "List"}
    for key in columns.images:
        fields[key] = pa.struct({"bytes": pa.binary(), "path": pa.string()})
        described[key] = {"_type": "Image"}
    for key, dtype in COUNTERS.items():
        fields[key] = pa.type_for_alias(dtype)
        described[key] = {"dtype": dtype, "_type": "Value"}
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": described}})})


def frame_table(schema: "pa.Schema", vectors: Mapping[str, np.ndarray], images: Mapping[str, np.ndarray]) -> "pa.Table":
    """Makes the table of an episode's frames.

    Args:
        schema: see `frame_schema`.
        vectors: key → `[steps, n]`, or `[steps]` of a counter.
        images: key → uint8 `[steps, height, width, channels]`.
    """
    import pyarrow as pa

    arrays = []
    for field in schema:
        if field.name in images:
            cells = [{"bytes": png(frame), "path": f"frame-{i:06d}.png"} for i, frame in enumerate(images[field.name])]
            arrays.append(pa.array(cells, field.type))
            continue
        flat = pa.array(np.ascontiguousarray(vectors[field.name]).ravel())
        fixed = pa.types.is_fixed_size_list(field.type)
        arrays.append(pa.FixedSizeListArray.from_arrays(flat, type=field.type) if fixed else flat.cast(field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def png(image: np.ndarray) -> bytes:
    """Encodes a uint8 image `[height, width, channels]` as PNG, without loss."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(stream, "PNG")
    return stream.getvalue()


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a small table."""
    import pyarrow as pa

    table = pa.Table.from_pylist(list(rows))
    with TableFile(path, table.schema) as file:
        file.add(table)


def write_tasks(path: Path, tasks: Sequence[str]) -> None:
    """Writes the instructions, which LeRobot reads as the index of a pandas table."""
    import pyarrow as pa

    names = ("task_index", "int64", "int64"), ("task", "unicode", "object")
    columns = [{"name": n, "field_name": n, "pandas_type": p, "numpy_type": d, "metadata": None} for n, p, d in names]
    pandas = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.0.0"}
    schema = pa.schema({"task_index": pa.int64(), "task": pa.string()}, metadata={"pandas": json.dumps(pandas)})
    with TableFile(path, schema) as file:
        file.add(pa.table([list(range(len(tasks))), list(tasks)], schema=schema))
