"""How functions are compiled, and called without numba's looking at their arguments every time.

numba compiles a function anew when its own file changes, not when one that it calls does: whoever edits that one removes the
`*.nbi` in `__pycache__`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numba import njit, typeof

# Kept on disk, and with C's divisions.
compiled = njit(cache=True, error_model="numpy")
# Without the interpreter's lock, too: what takes so long that other threads can use the time.
unlocked = njit(cache=True, error_model="numpy", nogil=True)
# Code by function and kinds of its arguments.
_ready: dict[tuple[Any, ...], Callable[..., Any]] = {}


def bind(function: Any, *first: Any, then: tuple[Any, ...] = ()) -> Callable[..., Any]:
    """A compiled function with its first arguments given; compiles it, or reads it from the disk.

    numba's own call finds the types of all arguments, which takes longer than a short function. Here they are found once:
    the caller must pass further arguments of the same types, and arrays that lie in one piece.

    Args:
        function: decorated by `compiled` or `unlocked`.
        first: its first arguments.
        then: the further ones of every call, by example.
    """
    arguments = *first, *then
    kind = function, *map(_kind, arguments)
    if kind not in _ready:
        _ready[kind] = function.compile(tuple(map(typeof, arguments)))
    return partial(_ready[kind], *first)


def _kind(value: Any) -> Any:
    """What decides a value's type of numba's, found sooner than that."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.ndim, value.flags.num
    return (type(value), *map(_kind, value)) if isinstance(value, tuple) else type(value)
