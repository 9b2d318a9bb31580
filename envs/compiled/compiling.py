"""Compiles functions with numba, and calls them without numba's inspection of the arguments at every call.

numba compiles a function again if its own file changes, but not if a function that it calls changes: after editing that
one, remove the `*.nbi` files in `__pycache__`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numba import njit, typeof

# Cached on disk; division by zero as in C, without an exception.
compiled = njit(cache=True, error_model="numpy")
# Also without the interpreter's lock, for functions so long that other threads can run meanwhile.
unlocked = njit(cache=True, error_model="numpy", nogil=True)
# Compiled code, by function and types of its arguments.
_ready: dict[tuple[Any, ...], Callable[..., Any]] = {}


def bind(function: Any, *first: Any, then: tuple[Any, ...] = ()) -> Callable[..., Any]:
    """Returns a compiled function with its first arguments fixed; compiles it, or reads it from the cache.

    numba itself finds the types of all arguments at each call, which takes longer than a short function. Here they are
    found once: the caller must pass arguments of the same types, and contiguous arrays.

    Args:
        function: decorated by `compiled` or `unlocked`.
        first: its first arguments.
        then: examples of the arguments of each call.
    """
    arguments = *first, *then
    kind = function, *map(_kind, arguments)
    if kind not in _ready:
        _ready[kind] = function.compile(tuple(map(typeof, arguments)))
    return partial(_ready[kind], *first)


def _kind(value: Any) -> Any:
    """A key for a value's numba type that is faster to compute than the type."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.ndim, value.flags.num
    return (type(value), *map(_kind, value)) if isinstance(value, tuple) else type(value)
