"""Our client and a server whose host reads nothing more: sending ends, and the client connects again."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

from paradp.policy.plan_stats import PlanStats, PlanTiming
from paradp.policy.requests import Chunk, PlanRequest
from paradp.policy.serving import Remote, client
from paradp.policy.serving.answers import greeting, plan_message
from paradp.policy.serving.wire import pack

REQUEST = PlanRequest({"position": np.zeros((2, 2), np.float32), "constant": np.zeros((2, 1), np.float32)}, noise_seed=1)
# Of 8 MB, more than the buffers of a connection take.
LARGE = PlanRequest(REQUEST.history, noise_seed=1, guess=np.zeros((2**19, 2)))


@contextmanager
def answering(spec) -> Iterator[int]:
    """A server that answers each message with a plan; yields its port."""
    stats = PlanStats(PlanTiming.of_stages(0.001, 0.002, 0.003), 1, 1, 1, 0.0, True)
    chunk = Chunk(np.zeros((15, 2)), np.zeros((16, 2)), stats)

    def talk(connection) -> None:
        with suppress(ConnectionClosed):
            connection.send(pack(greeting(spec, "ddpm", 2**24)))
            for _ in connection:
                connection.send(pack(plan_message(chunk, 0.1, 0.1)))

    with serve(talk, "127.0.0.1", 0, compression=None, max_size=2**24) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.socket.getsockname()[1]
        finally:
            server.shutdown()
            thread.join(30)


def pump(source: socket.socket, target: socket.socket, until: bytes | None = None) -> None:
    """Passes data on until its end, or until it has ended with some bytes."""
    with suppress(OSError):
        while data := source.recv(2**16):
            target.sendall(data)
            if until is not None and data.endswith(until):
                return
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def frozen_once(spec) -> Iterator[str]:
    """The address of a relay that reads no more than the handshake of its first client, and everything of later ones."""
    opened = []

    def accept(listener: socket.socket, port: int) -> None:
        with suppress(OSError):
            while True:
                ends = listener.accept()[0], socket.create_connection(("127.0.0.1", port))
                until = None if opened else b"\r\n\r\n"
                opened.extend(ends)
                threading.Thread(target=pump, args=(*ends, until), daemon=True).start()
                threading.Thread(target=pump, args=ends[::-1], daemon=True).start()

    with answering(spec) as port, closing(socket.socket()) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        threading.Thread(target=accept, args=(listener, port), daemon=True).start()
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}"
        for end in opened:
            end.close()


def blocked(pending: "Future[Chunk]") -> None:
    """Waits for a time that is ample for an answer if the server reads."""
    time.sleep(1.0)
    assert not pending.done()


def test_a_request_that_cannot_be_sent_in_time_is_sent_again_on_another_connection(frozen_once, monkeypatch):
    monkeypatch.setattr(client, "ANSWER_SECONDS", 1.0)
    remote = Remote(frozen_once)
    assert remote.submit(LARGE).result(10).stats.converged
    assert remote.submit(REQUEST).result(10).stats.converged
    remote.close()


def test_a_newer_request_does_not_wait_for_an_older_one_that_cannot_be_sent(frozen_once):
    """Although the older one has much time left."""
    remote = Remote(frozen_once)
    older = remote.submit(LARGE)
    blocked(older)
    assert remote.submit(REQUEST).result(5).stats.converged
    assert older.cancelled()
    remote.close()


def test_a_client_that_cannot_send_is_closed_at_once(frozen_once):
    remote = Remote(frozen_once)
    pending = remote.submit(LARGE)
    blocked(pending)
    started = time.monotonic()
    remote.close()
    assert time.monotonic() - started < 5 and not remote.alive and pending.cancelled()
