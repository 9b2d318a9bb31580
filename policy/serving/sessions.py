"""What one client has said: from its messages to requests for plans.

A message is a map with the observation's keys, and may have these besides:

| key | meaning |
| --- | --- |
| `paradp/noise_seed` | of this plan's noise; drawn by the server otherwise |
| `paradp/guess` | `[H, A]`, a first guess at the chunk, normalised units |
| `paradp/budget` | seconds for the solver |
| `paradp/keep` | `[H]` from 0 to 1, how much of the guess each step of the chunk must keep |

Each observation is either the observed steps `[To, n]`, oldest first, or the present one `[n]` alone, to be sent in every
control step: the session then remembers the steps before. Other keys are ignored.
"""

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from paradp.policy.observations import read_observation
from paradp.policy.requests import PlanRequest
from paradp.policy.spec import Interface

NOISE_SEED, GUESS, BUDGET, KEEP = "paradp/noise_seed", "paradp/guess", "paradp/budget", "paradp/keep"


class Session:
    """One client's.

    Args:
        spec: what the policy was trained for.
        seed: of the noise that the client does not choose; drawn from the system otherwise.
    """

    def __init__(self, spec: Interface, seed: int | None = None):
        self._spec = spec
        self._noise = np.random.default_rng(seed)
        self._history: deque[np.ndarray] = deque(maxlen=spec.horizons.observe)

    def read(self, message: Mapping[Any, Any]) -> PlanRequest:
        """A request for a plan; until it is remembered, the session is as it was.

        Raises:
            ValueError: a field is missing, or is not what it should be; the message names it.
        """
        horizon, size = self._spec.horizons.predict, self._spec.action_size
        request = PlanRequest(
            self._read_history(message),
            self._read_seed(message),
            _finite(message, GUESS, (horizon, size)),
            self._read_budget(message),
            _finite(message, KEEP, (horizon,)),
        )
        if request.keep is not None and (request.guess is None or not ((request.keep >= 0) & (request.keep <= 1)).all()):
            raise ValueError(f"{KEEP} must be from 0 to 1, and needs {GUESS}")
        return request

    def remember(self, request: PlanRequest) -> None:
        """Keeps the steps of a request that was answered: the next one follows them."""
        self._history.extend(request.history)

    def _read_history(self, message: Mapping[Any, Any]) -> np.ndarray:
        observed = self._spec.horizons.observe
        fields = {key: _numbers(key, message[key]) for key in self._spec.observation if key in message}
        for key, size in self._spec.observation.items():
            if key in fields and fields[key].shape not in ((size,), (observed, size)):
                raise ValueError(
                    f"the observation's {key!r} has shape {fields[key].shape}; it is ({observed}, {size}), or ({size},) in"
                    " every control step"
                )
        if len({value.ndim for value in fields.values()}) > 1:
            raise ValueError(f"some observations are of one step, others of {observed}: {', '.join(fields)}")
        if all(value.ndim == 1 for value in fields.values()):
            present = read_observation(self._spec, fields)
            # The first step stands for those before it.
            return np.stack([*(self._history or [present] * observed), present][-observed:])
        return np.stack([read_observation(self._spec, {k: v[i] for k, v in fields.items()}) for i in range(observed)])

    def _read_seed(self, message: Mapping[Any, Any]) -> int:
        seed = message.get(NOISE_SEED)
        if seed is None:
            return int(self._noise.integers(2**63))
        if type(seed) is not int or not 0 <= seed < 2**63:
            raise ValueError(f"{NOISE_SEED} must be a whole number from 0 to 2^63 - 1")
        return seed

    def _read_budget(self, message: Mapping[Any, Any]) -> float | None:
        if (budget := message.get(BUDGET)) is None:
            return None
        if type(budget) not in (int, float) or not 0 < budget < math.inf:
            raise ValueError(f"{BUDGET} must be a positive number of seconds")
        return float(budget)


def _numbers(key: str, value: object) -> np.ndarray:
    if not isinstance(value, np.ndarray | list | int | float):
        raise ValueError(f"{key!r} must be an array of numbers, not a {type(value).__name__}")
    if isinstance(value, np.ndarray) and value.dtype.kind not in "fiu":
        raise ValueError(f"{key!r} must be an array of numbers, not of dtype {value.dtype}")
    try:
        return np.asarray(value, np.float32)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{key!r} must be an array of numbers") from None


def _finite(message: Mapping[Any, Any], key: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """An array that may be left out."""
    if (value := message.get(key)) is None:
        return None
    array = _numbers(key, value)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"{key} must be finite and of shape {shape}, not {array.shape}")
    return array
