"""Rotations in actions: two rows of a rotation matrix, which stand for one unless they are zero or parallel.

Environments refuse such an action in the same words (`paradp.envs.rotations`); a test holds the two to each other.
"""

from collections.abc import Iterator, Mapping

import numpy as np

# Ends the name of such a quantity, and how long it is.
SUFFIX, SIZE = "rot6d", 6
# The least length of the first row, and of the second one across it: with less, rounding turns the rotation.
LEAST_ROW = 1e-4


def rotations_in(action: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Name and first dimension of every rotation in an action.

    Args:
        action: quantity → length, in order.
    """
    first = 0
    for name, size in action.items():
        if name.endswith(SUFFIX) and size == SIZE:
            yield name, first
        first += size


def check_rotation(name: str, rows: np.ndarray) -> None:
    """Checks a rotation of an action, `[6]`.

    Raises:
        ValueError: it is none; names it.
    """
    first, second = np.asarray(rows, np.float64).reshape(2, 3)
    length = np.linalg.norm(first)
    if length < LEAST_ROW or np.linalg.norm(np.cross(first, second)) < LEAST_ROW * length:
        raise ValueError(f"the action's {name} {rows} is no rotation: its two rows must not be zero or parallel")
