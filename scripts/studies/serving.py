"""Measures one policy server with one to eight robots: plans per second, and the wait of a robot for a plan."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np

from paradp.checkpoints import find_checkpoint, read_info
from paradp.policy.observations import Observation, how_many, take
from paradp.policy.requests import PlanRequest
from paradp.rollouts.expert_histories import expert_histories
from paradp.rollouts.machine import cores
from paradp.rollouts.realtime.timeline import Distribution
from paradp.scripts.console import each
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.serve import remote
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.registry import study

CLIENTS = (1, 2, 4, 8)
# Requests at the pace of a robot are rarer, so they are measured for longer.
SECONDS, PACED_SECONDS = 30.0, 60.0
WARM_UP_SECONDS = 3.0


@dataclass(frozen=True)
class Load:
    """The measurements of a number of clients.

    Attributes:
        clients: number of clients.
        waits: milliseconds from request to chunk.
        per_second: chunks per second of all clients together.
        batch: mean number of chunks in a batch.
    """

    clients: int
    waits: Distribution
    per_second: float
    batch: float


@study
def study_serving(context: Context) -> None:
    """Writes OUT/TASK-serving.md."""
    spec = read_info(find_checkpoint(context.task)).spec
    histories = expert_histories(spec, 64, seed=60_000)
    period = spec.horizons.execute / spec.control_hz
    with _served(context.task) as uri:
        eager = [_measure(uri, histories, clients, 0.0, SECONDS) for clients in each("clients, back to back", CLIENTS)]
        paced = [_measure(uri, histories, clients, period, PACED_SECONDS) for clients in each("clients, paced", CLIENTS)]
    header = ["clients", "plans a second", "× 1 client", "p50 ms", "p95", "p99", "max", "p99 × 1 client", "plans a batch"]
    body = f"""
`paradp serve {context.task}` with its default sampler and engine. The clients (`Remote`) are threads of another process; all
run on {cores()} cores. Observations are from the expert's episodes. The wait is measured by a client, from the time when its
request is due until it has the chunk; the first {WARM_UP_SECONDS:.0f} s are not counted.

Each client requests the next chunk as soon as it has the last one, {SECONDS:.0f} s for each number of clients:

{markdown_table(header, _rows(eager))}

Each client requests chunks like a robot, every {1000 * period:.0f} ms ({spec.horizons.execute} actions at
{spec.control_hz} Hz), with a random phase; {PACED_SECONDS:.0f} s each:

{markdown_table(header, _rows(paced))}
"""
    write_report(context.out / f"{context.task}-serving.md", f"{context.task}: one server for several robots", body)


def _rows(loads: Sequence[Load]) -> list[list[str]]:
    one = loads[0]
    return [
        [
            str(load.clients),
            f"{load.per_second:.1f}",
            f"{load.per_second / one.per_second:.2f}",
            *(f"{ms:.0f}" for ms in (load.waits.p50, load.waits.p95, load.waits.p99, load.waits.max)),
            f"{load.waits.p99 / one.waits.p99:.2f}",
            f"{load.batch:.1f}",
        ]
        for load in loads
    ]


@contextmanager
def _served(task: str) -> Iterator[str]:
    command = [str(Path(sys.executable).with_name("paradp")), "serve", task, "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        ready = next((match for line in server.stdout if (match := re.search(r"ws://[\d.:]+", line))), None)
        if ready is None:
            raise OSError("the server has not started")
        yield ready[0]
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()


def _measure(uri: str, histories: Observation, clients: int, period: float, seconds: float) -> Load:
    counted = time.perf_counter() + WARM_UP_SECONDS
    with ThreadPoolExecutor(clients) as threads:
        asking = [
            threads.submit(
                _ask, uri, take(histories, slice(client, None, clients)), period, counted, counted + seconds, client
            )
            for client in range(clients)
        ]
    taken = [answer for one in asking for answer in one.result()]
    waits = Distribution.of([wait for wait, _ in taken])
    return Load(clients, waits, len(taken) / seconds, float(np.mean([batch for _, batch in taken])))


def _ask(
    uri: str, histories: Observation, period: float, counted: float, until: float, client: int
) -> list[tuple[float, int]]:
    """Runs one client, which requests a chunk every `period` seconds, or back to back if it is 0.

    A wait begins when the request was due, so a long wait also delays the next request, and counts there, too.

    Returns:
        For each request, its wait in seconds and the size of the plan's batch.
    """
    source, random, taken = remote(uri), np.random.default_rng(client), []
    due = time.perf_counter() + random.uniform(0, period)
    for history in cycle([take(histories, i) for i in range(how_many(histories))]):
        due = due if period else time.perf_counter()
        if due > until:
            break
        time.sleep(max(due - time.perf_counter(), 0.0))
        chunk = source.submit(PlanRequest(history, int(random.integers(2**63)))).result()
        if due >= counted:
            taken.append((time.perf_counter() - due, chunk.stats.batch))
        due += period
    source.close()
    return taken
