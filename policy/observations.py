"""One control step's observation, from a dict at the boundary to the vector that policies are trained on."""

from collections.abc import Mapping

import numpy as np

from paradp.policy.spec import Interface

Observation = Mapping[str, np.ndarray]


def read_observation(spec: Interface, observation: Observation) -> np.ndarray:
    """One environment's observation as the vector `[O]` float32 that a policy was trained on, in memory of its own.

    Raises:
        ValueError: a key is missing, has the wrong shape, or holds what is not a finite real number.
    """
    if not isinstance(observation, Mapping):
        raise ValueError(f"an observation must map keys to arrays of numbers; this is a {type(observation).__name__}")
    parts = []
    for key, size in spec.observation.items():
        if key not in observation:
            raise ValueError(f"the observation lacks {key!r}; it has: {', '.join(map(str, observation)) or 'nothing'}")
        part = read_numbers(key, observation[key])
        if part.shape != (size,):
            raise ValueError(f"the observation's {key!r} has shape {part.shape}, the policy was trained with ({size},)")
        if not np.isfinite(part).all():
            raise ValueError(f"the observation's {key!r} is not finite: {part}")
        parts.append(part)
    return np.concatenate(parts)


def read_numbers(key: str, value: object) -> np.ndarray:
    """A value from outside as float32 of the same shape; numbers too large for float32 become infinite.

    Text that looks like a number, truth values and complex numbers are not converted but refused: numpy would parse the
    first, count the second and drop the imaginary part of the third.

    Raises:
        ValueError: it is no array of integers or floating-point numbers; the message names the key.
    """
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):  # ragged lists; tensors on another device
        raise ValueError(f"{key!r} must be an array of numbers") from None
    if not is_real(array):
        found = f"of dtype {array.dtype}" if isinstance(value, np.ndarray | list | tuple) else f"a {type(value).__name__}"
        raise ValueError(f"{key!r} must be an array of numbers, not {found}")
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def is_real(array: np.ndarray) -> bool:
    """Whether its elements are integers or floating-point numbers: not truth values, complex numbers, text or objects."""
    return array.dtype.kind in "fiu"
