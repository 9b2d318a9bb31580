"""A server restarts while clients request plans: every plan arrives, and each is the requested one."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from vectors import parted

from paradp.checkpoints import load_policy
from paradp.policy.requests import PlanRequest, plan_together
from paradp.policy.serving import Remote


def ask_over_restarts(
    uri: str, requests: Sequence[PlanRequest], restart: Callable[[int], None], restarts: int, clients: int = 4
) -> list[tuple[int, np.ndarray]]:
    """Clients ask for one plan after another, while the server is restarted.

    Args:
        uri: where the server is, before and after.
        requests: what they ask for, each in turn.
        restart: ends the server, in the i-th way, and starts it again.
        restarts: their number; each client gets three plans before, between and after them.
        clients: how many, in a thread each.

    Returns:
        Of every plan asked for, the request's number and the actions that came.
    """
    done, counts, asked = threading.Event(), [0] * clients, []

    def ask(client: int) -> list[tuple[int, np.ndarray]]:
        remote, came = Remote(uri), []
        try:
            while not done.is_set():
                number = (client + counts[client]) % len(requests)
                asked.append(number)
                came.append((number, remote.submit(requests[number]).result(240).actions))
                counts[client] += 1
            assert remote.alive
            return came
        finally:
            done.set()  # where one fails, all end
            remote.close()

    def three_more() -> None:
        wanted, deadline = [count + 3 for count in counts], time.monotonic() + 240
        while not done.is_set() and any(count < want for count, want in zip(counts, wanted, strict=True)):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    with ThreadPoolExecutor(clients) as threads:
        asking = [threads.submit(ask, client) for client in range(clients)]
        try:
            three_more()
            for i in range(restarts):
                restart(i)
                three_more()
        finally:
            done.set()
        came = [answer for one in asking for answer in one.result(300)]
    assert len(came) == len(asked)
    return came


def some_requests(policy, count: int = 6) -> list[PlanRequest]:
    random, spec = np.random.default_rng(0), policy.spec
    shape = spec.horizons.observe, spec.observation_size
    return [PlanRequest(parted(spec, random.uniform(-1, 1, shape).astype(np.float32)), seed) for seed in range(count)]


def check(policy, requests: Sequence[PlanRequest], came: Sequence[tuple[int, np.ndarray]], rounding: float) -> None:
    expected = [plan_together(policy, [request])[0].actions for request in requests]
    for number, actions in came:
        np.testing.assert_allclose(actions, expected[number], atol=rounding, rtol=0)


def test_no_plan_is_lost_or_exchanged_over_restarts(policy, running):
    servers = [running(policy, most_together=2)]
    first = servers[0].__enter__()

    def restart(_: int) -> None:
        servers[-1].__exit__(None, None, None)
        servers.append(running(policy, most_together=2, port=first.port))
        servers[-1].__enter__()

    requests = some_requests(policy)
    try:
        came = ask_over_restarts(first.uri, requests, restart, restarts=4)
    finally:
        servers[-1].__exit__(None, None, None)
    assert len(came) >= 4 * 3 * 5
    check(policy, requests, came, 1e-4)


@pytest.mark.slow
def test_no_plan_is_lost_or_exchanged_if_the_servers_process_is_killed():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = "from paradp.scripts.main import main; main()"
    options = ["--sampler", "ddim-2", "--engine", "eager", "--threads", "1", "--together", "2", "--port", str(port)]
    servers: list[subprocess.Popen] = []

    def start() -> None:
        command = [sys.executable, "-c", program, "serve", "pusht", *options]
        servers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"COLUMNS": "200"}))
        assert next(line for line in servers[-1].stdout if re.search(r"serving at ws://", line))

    def end(how: signal.Signals) -> None:
        servers[-1].send_signal(how)
        servers[-1].wait(60)
        servers[-1].stdout.close()

    def restart(i: int) -> None:
        end((signal.SIGKILL, signal.SIGTERM)[i])
        start()

    policy = load_policy("pusht", "ddim-2", engine="eager")
    requests = some_requests(policy)
    start()
    try:
        came = ask_over_restarts(f"ws://127.0.0.1:{port}", requests, restart, restarts=2)
    finally:
        end(signal.SIGKILL)
    check(policy, requests, came, 0.05)
