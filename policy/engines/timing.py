"""Timing work on a device."""

import time
from collections.abc import Callable
from statistics import median

import torch

from paradp.policy.engines.engine import Engine
from paradp.policy.spec import PolicySpec
from paradp.sampler.rounds.device import wait_until_idle

# In a plan, calls of one size follow each other, and the weights stay in the cache.
WARM_UP_CALLS, TIMED_CALLS = 4, 12


@torch.no_grad()
def time_call(engine: Engine, spec: PolicySpec, device: torch.device, rows: int) -> float:
    """Seconds that an engine takes for so many rows, median; captured where the engine's rounds are."""
    engine.prepare([rows])
    x = torch.zeros(rows, spec.horizons.predict, spec.action_size, device=device)
    t = torch.zeros(rows, dtype=torch.int64, device=device)
    condition = engine.encode(torch.zeros(rows, spec.condition_size, device=device))

    @torch.no_grad()
    def call() -> None:
        engine(x, t, condition)

    queue = None if engine.graphs is None else engine.graphs.queue(device)
    work = call if queue is None else queue.capture(call)
    return median([timed(work, device) for _ in range(WARM_UP_CALLS + TIMED_CALLS)][WARM_UP_CALLS:])


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of some work, until its results are there."""
    wait_until_idle(device)
    started = time.perf_counter()
    work()
    wait_for_results(device)
    return time.perf_counter() - started


def wait_for_results(device: torch.device) -> None:
    """Waits for what the caller has launched: for a sample, and not for the round too many that may still be under way.

    `paradp.sampler.rounds.captured` says why there is one.
    """
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
