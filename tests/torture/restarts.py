"""A server that is killed while clients ask for plans, and started again: every plan that is still wanted comes, and is the
right one."""

import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError

import numpy as np

from paradp.policy.requests import PlanRequest
from paradp.policy.serving import Remote
from torture.amounts import Amounts
from torture.serving import ROUNDING, Server, observation
from torture.tally import Tally
from torture.world import OBSERVED, World

CLIENTS = 4
SEEDS = 8
PLAN_SECONDS = 90.0


def attack(world: World, amounts: Amounts, rng: random.Random, tally: Tally, done: Callable[[], None]) -> None:
    server = Server(world)
    port, end = server.port, threading.Event()
    first = Remote(server.uri)
    expected = {seed: first.submit(_request(seed)).result(PLAN_SECONDS).actions for seed in range(SEEDS)}
    first.close()
    clients = [threading.Thread(target=_ask, args=(server.uri, i, expected, end, tally)) for i in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        for i in range(amounts.restarts):
            time.sleep(rng.uniform(0.5, 2.0))
            server.end(rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
            server = Server(world, port, f"server-{i}.txt")
            tally.count("restarts")
            done()
        time.sleep(1.0)
    finally:
        end.set()
        for client in clients:
            client.join(2 * PLAN_SECONDS)
        server.end(signal.SIGKILL)


def _ask(uri: str, number: int, expected: dict[int, np.ndarray], end: threading.Event, tally: Tally) -> None:
    """A client that requests one plan after another."""
    remote, i = Remote(uri), 0
    try:
        while not end.is_set():
            i += 1
            seed = (number + i) % SEEDS
            tally.count("plans asked for")
            try:
                chunk = remote.submit(_request(seed)).result(PLAN_SECONDS)
            except (Exception, CancelledError) as error:
                tally.fault("lost", f"a plan did not come over a restart: {type(error).__name__}: {error}")
                continue
            if chunk.stats.batch == 1 and not np.array_equal(chunk.actions, expected[seed]):
                tally.fault("lost", f"plan {seed} is another after a restart")
            elif np.abs(chunk.actions - expected[seed]).max() > ROUNDING:
                tally.fault("lost", f"plan {seed}, made together with others, is another than alone")
    finally:
        remote.close()


def _request(seed: int) -> PlanRequest:
    seen = observation(seed)
    return PlanRequest({key: seen[key] for key in OBSERVED}, seed)
