"""One control step's observation, from a dict at the boundary to the vector that policies are trained on."""

from collections.abc import Mapping

import numpy as np

from paradp.policy.spec import Interface

Observation = Mapping[str, np.ndarray]


def read_observation(spec: Interface, observation: Observation) -> np.ndarray:
    """One environment's observation as the vector `[O]` that a policy was trained on.

    Raises:
        ValueError: a key is missing, has the wrong shape, or holds what is not a finite number.
    """
    parts = []
    for key, size in spec.observation.items():
        if key not in observation:
            raise ValueError(f"the observation lacks {key!r}; it has: {', '.join(map(str, observation)) or 'nothing'}")
        try:
            part = np.asarray(observation[key], np.float32)
        except (TypeError, ValueError):
            raise ValueError(f"the observation's {key!r} is no array of numbers: {str(observation[key])[:60]!r}") from None
        if part.shape != (size,):
            raise ValueError(f"the observation's {key!r} has shape {part.shape}, the policy was trained with ({size},)")
        if not np.isfinite(part).all():
            raise ValueError(f"the observation's {key!r} is not finite: {part}")
        parts.append(part)
    return np.concatenate(parts)
