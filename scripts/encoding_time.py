"""Times the encoding of observations, once per plan, which `paradp bench` measures separately from the rounds."""

import time
from statistics import median

from paradp.policy import DiffusionPolicy, Engine
from paradp.policy.observations import Observation
from paradp.sampler.rounds.device import wait_until_idle

_WARM_UP, _TIMED = 3, 20


class EncodingTime:
    """Times the encoding of images, for each kind of engine once.

    Args:
        policy: the policy with the encoder; its own engine is not used.
        histories: observations, `[N, To, *shape]` by feature.
        batch: robots whose observations are encoded together.
    """

    def __init__(self, policy: DiffusionPolicy, histories: Observation, batch: int):
        self._policy = policy
        self._seen = {key: values[:batch] for key, values in histories.items()}
        self._found: dict[str, float] = {}

    def p50_ms(self, engine: Engine) -> float | None:
        """Median milliseconds from observations to conditions; `None` for a policy without an image encoder."""
        if self._policy.network.vision is None:
            return None
        if engine.name not in self._found:
            policy = self._policy.with_engine(engine)
            seconds = [self._once(policy) for _ in range(_WARM_UP + _TIMED)]
            self._found[engine.name] = 1000 * median(seconds[_WARM_UP:])
        return self._found[engine.name]

    def _once(self, policy: DiffusionPolicy) -> float:
        started = time.perf_counter()
        policy.condition(self._seen)
        wait_until_idle(policy.device)
        return time.perf_counter() - started
