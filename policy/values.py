"""Checks numbers from untrusted sources. Text, booleans, complex numbers and objects are refused, not converted.

numpy would parse text, convert booleans and drop imaginary parts. A single number may be a Python number, a numpy scalar or
a 0-dimensional array: clients send all three.
"""

import math
from typing import Any

import numpy as np

from paradp.policy.errors import SettingError


def whole_number(name: str, value: object, low: int, high: int) -> int:
    """An integer from `low` to `high`.

    Raises:
        SettingError: it is not; the message names it.
    """
    number = _plain(value)
    if type(number) is not int or not low <= number <= high:
        said = f"{name} must be a whole number from {_power(low)} to {_power(high)}, not {_short(number)}"
        raise SettingError(said, name)
    return number


def positive_number(name: str, value: object, unit: str) -> float:
    """A positive, finite number.

    Raises:
        SettingError: it is not; the message names it.
    """
    number = _plain(value)
    if type(number) not in (int, float) or not 0 < number < math.inf:  # type: ignore[operator]
        raise SettingError(f"{name} must be a positive number of {unit}, not {_short(number)}", name)
    return float(number)  # type: ignore[arg-type]


def flag(name: str, value: object) -> bool:
    """A boolean.

    Raises:
        ValueError: it is not a boolean; the message names it.
    """
    if type(truth := _plain(value)) is not bool:
        raise ValueError(f"{name} must be true or false, not {_short(truth)}")
    return truth


def numbers(name: str, value: object, dtype: type[np.floating] = np.float32) -> np.ndarray:
    """Converts an array (numpy, or a CPU tensor), a list or a number to a new array of the dtype.

    Numbers too large for the dtype become infinite.

    Raises:
        ValueError: it contains anything but numbers; the message names it.
    """
    array = _of_list(name, value) if isinstance(value, list | tuple) else _as_array(value)
    if array is None:
        raise ValueError(f"{name} must be an array of numbers, not a {type(value).__name__}")
    if not is_real(array):
        raise ValueError(f"{name} must be an array of numbers, not of dtype {array.dtype}")
    if array.dtype == dtype:
        return array.copy()
    with np.errstate(over="ignore"):
        return array.astype(dtype)


def is_real(array: np.ndarray) -> bool:
    """Whether the elements are integers or floats: not booleans, complex numbers, text or objects."""
    return array.dtype.kind in "fiu"


def finite_numbers(name: str, value: object, shape: tuple[int, ...], dtype: type[np.floating] = np.float32) -> np.ndarray:
    """An array of finite numbers with the given shape.

    Raises:
        ValueError: it is not; the message names it.
    """
    array = numbers(name, value, dtype)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite and of shape {shape}, not {array.shape}")
    return array


def _plain(value: Any) -> object:
    """Converts a numpy number to a Python number; returns anything else unchanged."""
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        return value.item()
    return value


def _as_array(value: object) -> np.ndarray | None:
    """The value as an array if it is an array or a number, otherwise `None`."""
    if type(value) in (int, float):
        return np.asarray(value, float)
    if not hasattr(value, "__array__"):
        return None
    try:
        return np.asarray(value)
    except (TypeError, RuntimeError):  # tensors on another device, or with gradients
        return None


def _of_list(name: str, value: list | tuple) -> np.ndarray:
    """Converts nested lists and arrays like numpy, but refuses "1" and True, which numpy takes for numbers."""
    try:
        leaves = np.asarray(value, object)
    except ValueError:
        raise ValueError(f"{name} must be an array of numbers, not a ragged list") from None
    if wrong := [leaf for leaf in map(_plain, leaves.flat) if type(leaf) not in (int, float)]:
        raise ValueError(f"{name} must be an array of numbers; one of its values is {_short(wrong[0])}")
    return leaves.astype(float)


def _short(value: object) -> str:
    """A value as shown in a message."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    if isinstance(value, str | int | float | None):
        return repr(value)[:40]
    return f"a {type(value).__name__}"


def _power(number: int) -> str:
    """Formats a bound; large powers of two as powers."""
    return f"2^{(number + 1).bit_length() - 1} - 1" if number >= 2**31 - 1 and not (number & (number + 1)) else str(number)
