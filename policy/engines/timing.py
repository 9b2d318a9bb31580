"""Timing work on a device."""

import time
from collections.abc import Callable
from statistics import median

import torch

from paradp.policy.engines.engine import Engine
from paradp.policy.spec import PolicySpec
from paradp.sampler.rounds.device import wait_until_idle

# As in a plan, calls of one size are repeated, so that the weights stay in the cache.
WARM_UP_CALLS, TIMED_CALLS = 4, 12


@torch.no_grad()
def time_call(engine: Engine, spec: PolicySpec, device: torch.device, rows: int) -> float:
    """Median seconds of an engine's call for a batch size; captured in a graph if the engine captures its rounds."""
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
    """Seconds of some work, including the wait for its results."""
    wait_until_idle(device)
    started = time.perf_counter()
    work()
    wait_for_results(device)
    return time.perf_counter() - started


def wait_for_results(device: torch.device) -> None:
    """Waits for the work that the caller has launched, but not for a superfluous last round.

    For that round see `paradp.sampler.rounds.captured`.
    """
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
