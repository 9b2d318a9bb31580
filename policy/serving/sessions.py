"""Converts a client's messages to plan requests.

A message is a map with the observation's keys. It may also have these keys:

| key | meaning |
| --- | --- |
| `paradp/reset` | true in an episode's first control step: clears the history, and restarts the noise |
| `paradp/noise_seed` | seed of this plan's noise; by default the server draws it |
| `paradp/guess` | `[H, A]`, a first guess at the chunk, normalised units |
| `paradp/budget` | time limit of the solver in seconds |
| `paradp/keep` | `[H]` from 0 to 1, weight of the guess at each step of the chunk |

An observation is either the last To steps `[To, …]`, oldest first, or only the current step. In the second case the client
must send every control step, because the session keeps the history of the steps that it answered with a plan. `observed.py`
documents names and images. Other keys are ignored.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from paradp.policy.observations import Observation, read_observation, stack, take
from paradp.policy.requests import PlanRequest
from paradp.policy.serving.observed import OPENED, Names, listed, read_feature
from paradp.policy.serving.wire import Message
from paradp.policy.spec import Interface
from paradp.policy.values import finite_numbers, flag, positive_number, whole_number

RESET, NOISE_SEED, GUESS = "paradp/reset", "paradp/noise_seed", "paradp/guess"
BUDGET, KEEP = "paradp/budget", "paradp/keep"
OPTIONS = (RESET, NOISE_SEED, GUESS, BUDGET, KEEP)


class Session:
    """The state of one client's connection.

    Args:
        spec: specification of the policy.
        seed: for noise that the client does not choose; by default from the system's entropy.
    """

    def __init__(self, spec: Interface, seed: int | None = None):
        self._spec = spec
        self._names = Names(spec.observed)
        self._seed = seed
        self._history: deque[Observation] = deque(maxlen=spec.horizons.observe)
        self._note: str | None = ""
        self._begin()

    def read(self, data: bytes) -> PlanRequest:
        """Converts a message to a plan request. The history does not change, except by a reset, which takes effect even if
        the message is refused.

        Raises:
            ValueError: a field is missing or invalid; the error names it.
        """
        message = Message(data, OPENED)
        options = {name: message.value(name) for name in OPTIONS if name in message.names}
        if _is_reset(options):
            self._begin()
        horizon, size = self._spec.horizons.predict, self._spec.action_size
        names = self._names.find(message.names)
        request = PlanRequest(
            self._read_history(message, names),
            self._read_seed(options),
            _array_or_none(options, GUESS, (horizon, size)),
            _budget(options),
            _array_or_none(options, KEEP, (horizon,)),
        )
        if request.keep is not None and (request.guess is None or not ((request.keep >= 0) & (request.keep <= 1)).all()):
            raise ValueError(f"{KEEP} must be from 0 to 1, and needs {GUESS}")
        ignored = [name for name in message.names if name not in OPTIONS and name not in names.values()]
        if self._note == "" and ignored:
            self._note = f"keys that the policy does not read, and ignores: {listed(ignored)}"
        return request

    def take_note(self) -> str | None:
        """Returns the note about ignored keys in a client's message, once per session."""
        if not self._note:
            return None
        note, self._note = self._note, None
        return note

    def remember(self, request: PlanRequest) -> None:
        """Adds the steps of an answered request to the history."""
        self._history.extend(take(request.history, i) for i in range(self._spec.horizons.observe))

    def _begin(self) -> None:
        """Begins an episode with an empty history."""
        self._history.clear()
        self._noise = np.random.default_rng(self._seed)

    def _read_history(self, message: Message, names: Mapping[str, str]) -> Observation:
        observed, features = self._spec.horizons.observe, self._spec.observed
        fields = {key: read_feature(message, names[key], key, feature, observed) for key, feature in features.items()}
        if len({value.ndim - len(features[key].shape) for key, value in fields.items()}) > 1:
            raise ValueError(f"some observations are of one step, others of {observed}: {', '.join(fields)}")
        if all(value.shape == features[key].shape for key, value in fields.items()):
            present = read_observation(self._spec, fields)
            # The first step is repeated for the steps before it.
            return stack([*(self._history or [present] * observed), present][-observed:])
        return stack([read_observation(self._spec, take(fields, i)) for i in range(observed)])

    def _read_seed(self, message: Mapping[str, Any]) -> int:
        if (seed := message.get(NOISE_SEED)) is None:
            return int(self._noise.integers(2**63))
        return whole_number(NOISE_SEED, seed, 0, 2**63 - 1)


def _is_reset(message: Mapping[str, Any]) -> bool:
    reset = message.get(RESET)
    return reset is not None and flag(RESET, reset)


def _budget(message: Mapping[str, Any]) -> float | None:
    budget = message.get(BUDGET)
    return None if budget is None else positive_number(BUDGET, budget, "seconds")


def _array_or_none(message: Mapping[str, Any], key: str, shape: tuple[int, ...]) -> np.ndarray | None:
    value = message.get(key)
    return None if value is None else finite_numbers(key, value, shape)
