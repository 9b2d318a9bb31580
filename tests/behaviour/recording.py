"""A recording of a commit: named arrays; and the conversion of files to such values."""

import fnmatch
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Values = dict[str, np.ndarray]

# Names of values that differ between two runs of one commit, and why. A `*` stands for anything, slashes included.
EXCLUDED = {
    # times
    "*seconds*": "a time",
    "*latency_ms*": "a time",
    "*throughput*": "a time",
    "*/started": "a date",
    "*/began": "a time",
    "*/simulation": "a time",
    "*/replan_encode": "a time",
    "*/replan_denoise": "a time",
    "*/replan_decode": "a time",
    "*_timing/*": "a time",
    # what is drawn, or is about times throughout
    "*.png": "a picture, which has times in it or is drawn from recorded values",
    "*report.html": "latencies throughout; its figures are those of cells.parquet",
    "*report.md": "latencies throughout; its figures are those of cells.parquet",
    "*comparison.md": "latencies throughout; its figures are those of summary.json",
    # what is recorded elsewhere
    "*episodes/*.json*": "the same as episodes.parquet and steps.parquet",
}
# Lines of text that are about how long something took, how fast it was, or that it is under way.
_TIMED = re.compile(r"\b(ms|seconds?|minutes?|Took)\b|^loading .*…$")


def excluded(name: str) -> bool:
    """Whether a value is left out of recordings, by its name."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in EXCLUDED)


def save(values: Mapping[str, np.ndarray], path: Path) -> None:
    """Writes a recording; `load` reads it."""
    np.savez_compressed(path, **values)


def load(path: Path) -> Values:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def below(name: str, values: Mapping[str, np.ndarray]) -> Values:
    """The values with a prefix to their names; without a prefix unchanged."""
    return {f"{name}/{key}" if name else key: value for key, value in values.items()}


def text(lines: str) -> np.ndarray:
    """A text as a value, without lines on time or progress."""
    kept = (line.rstrip() for line in lines.splitlines() if not _TIMED.search(line))
    return np.array("\n".join(kept))


def from_json(value: Any, name: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Every leaf of a JSON value by its path; a list of numbers, or of texts, is one leaf."""
    match value:
        case dict() if value:
            for key, inner in value.items():
                yield from from_json(inner, f"{name}/{key}")
        case list() if any(isinstance(inner, dict | list) for inner in value):
            for i, inner in enumerate(value):
                yield from from_json(inner, f"{name}/{i}")
        case dict() | None:
            yield name, np.array(json.dumps(value))
        case list() if any(inner is None for inner in value):
            yield name, np.array(json.dumps(value))
        case _:
            yield name, np.array(value)


def from_folder(folder: Path) -> Values:
    """All files below a folder, by format, without hidden ones.

    Of a file of another format only its name is kept.
    """
    values: Values = {}
    stores = {path.parent for path in folder.rglob("zarr.json") if not (path.parent.parent / "zarr.json").exists()}
    for store in stores:
        values |= below(_name(store, folder), from_store(store))
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden and not stores & set(path.parents):
            values |= _from_file(path, _name(path, folder))
    return {name: value for name, value in values.items() if not excluded(name)}


def from_store(store: Path) -> Values:
    """The arrays and attributes of a zarr group."""
    import zarr

    group = zarr.open_group(store, mode="r")
    values = {name: np.asarray(array[:]) for name, array in group.members(None) if isinstance(array, zarr.Array)}
    return values | {f"attributes{name}": value for name, value in from_json(dict(group.attrs))}


def _name(path: Path, folder: Path) -> str:
    return "" if path == folder else path.relative_to(folder).as_posix()


def _from_file(path: Path, name: str) -> Values:
    match path.suffix:
        case ".json":
            found = dict(from_json(json.loads(path.read_text())))
        case ".jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            found = {f"/{key}": np.array([line[key] for line in lines]) for key in (lines[0] if lines else ())}
        case ".parquet":
            found = _from_table(path)
        case ".safetensors":
            found = _from_tensors(path)
        case ".md":
            return {name: text(path.read_text())}
        case _:
            return {name: np.array("there")}
    return {f"{name}{key}": value for key, value in found.items()}


def _from_table(path: Path) -> Values:
    import pandas as pd

    table = pd.read_parquet(path)
    return {f"/{column}": _column(table[column].tolist()) for column in table}


def _column(cells: list[Any]) -> np.ndarray:
    """A column as an array: lists of one length become rows; with missing cells, each cell becomes a text."""
    lists = [np.asarray(cell).tolist() for cell in cells]
    if all(isinstance(cell, bool | int | float) for cell in lists):
        return np.array(lists)
    if all(isinstance(cell, list) for cell in lists) and len({len(cell) for cell in lists}) == 1:
        return np.array(lists)
    return np.array([json.dumps(cell) for cell in lists])


def _from_tensors(path: Path) -> Values:
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        values = {f"/{name}": file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is not a dict)
        noted = file.metadata() or {}
    for key, value in noted.items():
        try:
            values |= {f"/metadata/{key}{name}": leaf for name, leaf in from_json(json.loads(value))}
        except ValueError:
            values[f"/metadata/{key}"] = np.array(value)
    return values
