"""Checks rotations in actions. A rotation is two rows of a matrix; it is invalid if they are zero or parallel.

Environments refuse such actions with the same message (`paradp.envs.rotations`); a test compares both.
"""

from collections.abc import Iterator, Mapping

import numpy as np

# Suffix of the name of a rotation, and its number of values.
SUFFIX, SIZE = "rot6d", 6
# Least length of the first row, and of the second row's part orthogonal to it. Below that, rounding changes the rotation.
LEAST_ROW = 1e-4


def rotations_in(action: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Name and first dimension of every rotation in an action.

    Args:
        action: name → length of each part, in order.
    """
    first = 0
    for name, size in action.items():
        if name.endswith(SUFFIX) and size == SIZE:
            yield name, first
        first += size


def check_rotation(name: str, rows: np.ndarray) -> None:
    """Checks a rotation of an action, `[6]`.

    Raises:
        ValueError: it is invalid; the message names it.
    """
    first, second = np.asarray(rows, np.float64).reshape(2, 3)
    length = np.linalg.norm(first)
    if length < LEAST_ROW or np.linalg.norm(np.cross(first, second)) < LEAST_ROW * length:
        raise ValueError(f"the action's {name} {rows} is not a rotation: its two rows must not be zero or parallel")
