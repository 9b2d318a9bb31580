"""One control step's observation, from a dict at the boundary to the vector that policies are trained on."""

from collections.abc import Mapping

import numpy as np

from paradp.policy.spec import Interface
from paradp.policy.values import numbers

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
        part = numbers(repr(key), observation[key])
        if part.shape != (size,):
            raise ValueError(f"the observation's {key!r} has shape {part.shape}, the policy was trained with ({size},)")
        parts.append(part)
    vector = np.concatenate(parts)
    if not np.isfinite(vector).all():
        key, part = next(pair for pair in zip(spec.observation, parts, strict=True) if not np.isfinite(pair[1]).all())
        raise ValueError(f"the observation's {key!r} is not finite: {part}")
    return vector
