"""Compares two recordings: which values are equal to the bit, which differ, and by how much."""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from rich.table import Table

# A part that could not be recorded has one value of this name, which says why.
FAILED = "failed"
_MOST_ROWS = 60  # of the table of differences
_MOST_TEXT = 160


class Outcome(Enum):
    """The result of comparing a value."""

    EQUAL = "equal"
    NEW = "new"  # only the new commit has it
    INTENDED = "intended"  # differs or is missing, and was named beforehand
    DIFFERS = "differs"
    MISSING = "missing"  # only the old commit has it
    FAILED = "failed"  # a part could not be recorded


FAULTS = (Outcome.DIFFERS, Outcome.MISSING, Outcome.FAILED)


@dataclass(frozen=True)
class Compared:
    """A value's name, the result of its comparison, and a description of the difference."""

    name: str
    outcome: Outcome
    what: str = ""

    @property
    def part(self) -> str:
        return self.name.split("/")[0]


def compare(old: Mapping[str, np.ndarray], new: Mapping[str, np.ndarray], intended: Sequence[str] = ()) -> list[Compared]:
    """Every value of either recording.

    Args:
        old, new: name → value.
        intended: patterns of the names of values that may differ.
    """
    return [_compare(name, old.get(name), new.get(name), intended) for name in dict.fromkeys([*old, *new])]


def _compare(name: str, old: np.ndarray | None, new: np.ndarray | None, intended: Sequence[str]) -> Compared:
    if name.endswith(f"/{FAILED}"):
        # Also where both fail alike: nothing is shown then.
        said = [f"{which}: {value}" for which, value in (("old", old), ("new", new)) if value is not None]
        return Compared(name, Outcome.FAILED, "; ".join(said))
    if old is None:
        return Compared(name, Outcome.NEW)
    outcome = Outcome.MISSING if new is None else Outcome.EQUAL if equal(old, new) else Outcome.DIFFERS
    what = "" if new is None or outcome is Outcome.EQUAL else difference(old, new)
    if outcome in FAULTS and any(fnmatch.fnmatchcase(name, pattern) for pattern in intended):
        outcome = Outcome.INTENDED
    return Compared(name, outcome, what)


def equal(old: np.ndarray, new: np.ndarray) -> bool:
    """Compares kind, shape and every byte, so that not-a-number equals itself and −0 differs from 0."""
    if old.dtype.kind == new.dtype.kind == "U":
        return bool(np.array_equal(old, new))
    return (old.dtype, old.shape) == (new.dtype, new.shape) and old.tobytes() == new.tobytes()


def difference(old: np.ndarray, new: np.ndarray) -> str:
    """Describes how two values differ."""
    if (old.dtype.kind == "U") != (new.dtype.kind == "U") or old.shape != new.shape:
        return f"{old.dtype}{list(old.shape)} was {_shown(old)}, {new.dtype}{list(new.shape)} is {_shown(new)}"
    unequal = int((_bits(old) != _bits(new)).sum()) if old.dtype == new.dtype else int((old != new).sum())
    if old.dtype.kind == "U":
        return f"{_first_difference(old, new)}"
    if old.dtype != new.dtype:
        return f"{old.dtype} was, {new.dtype} is; {unequal} of {old.size} numbers differ"
    if old.dtype.kind == "b":
        return f"{unequal} of {old.size} differ"
    apart = np.abs(old.astype(np.float64) - new.astype(np.float64))
    most = float(apart[np.isfinite(apart)].max(initial=0.0))
    return f"{unequal} of {old.size} numbers differ, by at most {most:.3g}"


def _bits(array: np.ndarray) -> np.ndarray:
    """Floats as integers, so that not-a-number equals itself and −0 differs from 0."""
    return array.view(f"i{array.dtype.itemsize}") if array.dtype.kind == "f" else array


def _first_difference(old: np.ndarray, new: np.ndarray) -> str:
    lines = [str(value).splitlines() for array in (old, new) for value in ["\n".join(map(str, array.ravel()))]]
    before, after = lines[0] + [""] * len(lines[1]), lines[1] + [""] * len(lines[0])
    first = next(i for i, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1])
    return f"{before[first][:_MOST_TEXT]!r} was, {after[first][:_MOST_TEXT]!r} is"


def _shown(value: np.ndarray) -> str:
    return str(value if value.size < 9 else value.ravel()[:8])[:_MOST_TEXT]


def faults(compared: Iterable[Compared]) -> int:
    """The number of wrong values."""
    return sum(one.outcome in FAULTS for one in compared)


def summary(compared: Sequence[Compared], title: str) -> Table:
    """One row per part: the number of values by result."""
    table = Table("part", *(outcome.value for outcome in Outcome), title=title)
    for part in dict.fromkeys(one.part for one in compared):
        counts = [sum(one.part == part and one.outcome is outcome for one in compared) for outcome in Outcome]
        table.add_row(part, *(str(count) if count else "" for count in counts), style="red" if any(counts[3:]) else None)
    table.add_section()
    table.add_row("all", *(str(sum(one.outcome is outcome for one in compared)) for outcome in Outcome))
    return table


def differences(compared: Sequence[Compared]) -> Table:
    """One row for every value that differs, the worst first."""
    shown = sorted((one for one in compared if one.what or one.outcome is Outcome.MISSING), key=lambda one: -_rank(one))
    left_out = len(shown) - _MOST_ROWS
    table = Table("value", "", "how", caption=f"and {left_out} more" if left_out > 0 else None)
    for one in shown[:_MOST_ROWS]:
        table.add_row(one.name, one.outcome.value, one.what)
    return table


def _rank(one: Compared) -> int:
    return list(Outcome).index(one.outcome)
