"""A policy on a websocket, as openpi's clients speak to it.

On connecting a client is sent the metadata, and then gets an answer to each of its messages: a map with `actions`, or a text
that says what was wrong, after which the session goes on.
"""

import asyncio
import hmac
import http
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed, ConnectionClosedError
from websockets.http11 import Request, Response

from paradp.policy.diffusion_policy import DiffusionPolicy
from paradp.policy.requests import Chunk, plan_together
from paradp.policy.serving.batcher import Batcher, Busy
from paradp.policy.serving.metrics import Metrics
from paradp.policy.serving.sessions import Session
from paradp.policy.serving.wire import pack, unpack
from paradp.policy.sources import blank_request
from paradp.policy.spec import Interface

_LOG = logging.getLogger(__name__)
# Going away: the code that a server closes its connections with.
GOING_AWAY = 1001
# For the answers to what was accepted before a shutdown, and then for the clients to go.
FINISH_SECONDS, CLOSE_SECONDS = 10.0, 3.0
# A client that has not read an answer after so long, or lets so much pile up, is cut off.
READ_SECONDS, MOST_UNREAD_BYTES = 5.0, 2**20


@dataclass(frozen=True)
class ServerConfig:
    """How to serve.

    Attributes:
        host, port: where to listen; 127.0.0.1 can only be reached from this machine. Port 0 is any that is free.
        api_key: what clients must know, if anything.
        most_clients: connections at a time.
        most_together: clients that are planned for in one batch.
        most_waiting: requests that may wait.
        most_bytes: of a message.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = None
    most_clients: int = 64
    most_together: int = 8
    most_waiting: int = 64
    most_bytes: int = 2**16

    def __post_init__(self) -> None:
        for name in ("most_clients", "most_together", "most_waiting", "most_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.port < 2**16:
            raise ValueError(f"port must be from 0 to 65535, not {self.port}")
        if self.api_key == "":
            raise ValueError("an empty API key would let everyone in; leave it out for that")


def metadata(spec: Interface, sampler: str) -> dict[str, Any]:
    """What a client is told on connecting."""
    horizons = spec.horizons
    return {
        "task": spec.task,
        "observation": {
            key: {"shape": [horizons.observe, size], "dtype": "float32"} for key, size in spec.observation.items()
        },
        "action": {"shape": [horizons.predict - horizons.observe + 1, spec.action_size], "dtype": "float32"},
        "action_parts": dict(spec.action),
        "action_convention": spec.action_convention,
        "action_low": list(spec.action_low),
        "action_high": list(spec.action_high),
        "action_step": None if spec.action_step is None else list(spec.action_step),
        "horizons": asdict(horizons),
        "control_hz": spec.control_hz,
        "sampler": sampler,
    }


class PolicyServer:
    """Serves a policy to many clients, whose requests are planned together.

    Args:
        policy: makes the plans.
        config: how to serve.
        sampler: its name, for the metadata; what a measured one stands for is added.
    """

    def __init__(self, policy: DiffusionPolicy, config: ServerConfig, sampler: str):
        if policy.planned is not None:
            sampler = f"{sampler} ({policy.planned.sampler})"
        self.metrics = Metrics()
        self._policy = policy
        self._config = config
        self._metadata = pack(metadata(policy.spec, sampler))
        self._batcher = Batcher(
            partial(plan_together, policy), config.most_together, config.most_waiting, self.metrics.batch
        )
        self._batches: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._answering = 0
        self._clients = 0
        self._idle = asyncio.Condition()

    def warm_up(self) -> None:
        """Plans for every number of clients, so that the first of them does not wait for a compiler."""
        self._policy.prepare(self._config.most_together)
        for together in range(1, self._config.most_together + 1):
            plan_together(self._policy, [blank_request(self._policy.spec)] * together)

    async def run(self, stop: asyncio.Event, on_ready: Callable[[int], None] = lambda port: None) -> None:
        """Serves until it is told to stop, and then finishes what it has accepted.

        Args:
            stop: ends it.
            on_ready: told the port when clients can connect.

        Raises:
            OSError: it cannot listen there.
        """
        batches = self._batches = asyncio.create_task(self._batcher.run())
        config = self._config
        try:
            async with serve(
                self._serve_client,
                config.host,
                config.port,
                process_request=self._process_request,
                origins=[None],  # a browser always has one: no web page may use a server of this machine
                compression=None,
                max_size=config.most_bytes,
                max_queue=2,
            ) as server:
                unread = asyncio.create_task(_cut_off_who_does_not_read(server))
                on_ready(server.sockets[0].getsockname()[1])
                await stop.wait()
                await self._shut_down(server)
                unread.cancel()
        finally:
            batches.cancel()
            self._batcher.close()

    async def _shut_down(self, server: Server) -> None:
        """Accepts nothing more, answers what was accepted, and goes."""
        self._closing.set()
        server.close(close_connections=False)
        with suppress(TimeoutError):  # a client that does not read its answer
            async with asyncio.timeout(FINISH_SECONDS), self._idle:
                await self._idle.wait_for(lambda: self._answering == 0)
        going = [asyncio.create_task(c.close(GOING_AWAY, "the server is shutting down")) for c in server.connections]
        if going:
            await asyncio.wait(going, timeout=CLOSE_SECONDS)
        for connection in server.connections:
            connection.transport.abort()

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answers what is no websocket, and refuses who must not come in."""
        if request.path == "/healthz":
            if self._batches is None or self._batches.done():
                return connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "no plans are made any more\n")
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        if not self._authorised(request):
            self.metrics.answers.labels("unauthorised").inc()
            return connection.respond(http.HTTPStatus.UNAUTHORIZED, "an API key is needed: Authorization: Api-Key KEY\n")
        if request.path == "/metrics":
            return connection.respond(http.HTTPStatus.OK, self.metrics.text().decode())
        if self._clients >= self._config.most_clients or self._closing.is_set():
            self.metrics.answers.labels("full").inc()
            return connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "no more clients can be served\n")
        return None

    def _authorised(self, request: Request) -> bool:
        if self._config.api_key is None:
            return True
        told = ", ".join(request.headers.get_all("Authorization"))
        return hmac.compare_digest(told.encode(), f"Api-Key {self._config.api_key}".encode())

    async def _serve_client(self, connection: ServerConnection) -> None:
        session, before = Session(self._policy.spec), 0.0
        self._clients += 1
        self.metrics.clients.set(self._clients)
        try:
            await _send(connection, self._metadata)
            async for message in connection:
                if self._closing.is_set():
                    break  # not answered in words: our own client asks again, where the server is started anew
                began = time.perf_counter()
                async with self._accepted():
                    await _send(connection, await self._answer(connection, session, message, before))
                before = time.perf_counter() - began
        except (ConnectionClosed, TimeoutError):
            pass
        finally:
            self._clients -= 1
            self.metrics.clients.set(self._clients)

    @asynccontextmanager
    async def _accepted(self) -> AsyncIterator[None]:
        """Counts the messages that are being answered: a server that shuts down waits for them."""
        self._answering += 1
        try:
            yield
        finally:
            self._answering -= 1
            async with self._idle:
                self._idle.notify_all()

    async def _answer(
        self, connection: ServerConnection, session: Session, message: str | bytes, before: float
    ) -> str | bytes:
        """The plan, or in words why there is none."""
        began = time.perf_counter()
        try:
            if isinstance(message, str):
                raise ValueError("a message must be msgpack in a binary frame, not text")
            request = session.read(unpack(message))
            chunk = await _while_connected(connection, self._batcher.submit(request))
        except Busy as error:
            return self._refused("busy", f"busy: {error}")
        except ValueError as error:
            return self._refused("refused", str(error))
        except ConnectionClosed:
            raise
        except Exception as error:
            _LOG.exception("a plan failed")
            return self._refused("failed", f"the plan failed: {type(error).__name__}")
        session.remember(request)
        self.metrics.answers.labels("plan").inc()
        self.metrics.plan(chunk)
        return pack(_plan_message(chunk, time.perf_counter() - began, before))

    def _refused(self, kind: str, why: str) -> str:
        self.metrics.answers.labels(kind).inc()
        return why


async def _send(connection: ServerConnection, message: str | bytes) -> None:
    """Sends, and cuts off a client that does not read.

    Raises:
        TimeoutError: it did not.
    """
    try:
        async with asyncio.timeout(READ_SECONDS):
            await connection.send(message)
    except TimeoutError:
        connection.transport.abort()
        raise


async def _while_connected(connection: ServerConnection, plan: Coroutine[Any, Any, Chunk]) -> Chunk:
    """A plan, as long as there is somebody to have it.

    Raises:
        ConnectionClosed: the client has gone, and its request with it.
    """
    making, gone = asyncio.create_task(plan), asyncio.create_task(connection.wait_closed())
    try:
        await asyncio.wait({making, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not making.done():
            raise ConnectionClosedError(None, None)
        return making.result()
    finally:
        making.cancel()
        gone.cancel()


async def _cut_off_who_does_not_read(server: Server) -> None:
    """Answers to pings are written without waiting for anyone to read them."""
    while True:
        await asyncio.sleep(1.0)
        for connection in server.connections:
            if connection.transport.get_write_buffer_size() > MOST_UNREAD_BYTES:
                connection.transport.abort()


def _plan_message(chunk: Chunk, seconds: float, before: float) -> dict[str, Any]:
    return {
        "actions": np.ascontiguousarray(chunk.actions),
        "policy_timing": _milliseconds(infer=chunk.timing.seconds, **asdict(chunk.timing)),
        "server_timing": _milliseconds(infer=seconds, prev_total=before),
        "paradp/whole": np.ascontiguousarray(chunk.whole),
        "paradp/batch": chunk.batch,
        "paradp/rounds": chunk.rounds,
        "paradp/evaluations": chunk.evaluations,
        "paradp/residual": chunk.residual,
        "paradp/converged": chunk.converged,
    }


def _milliseconds(**seconds: float) -> dict[str, float]:
    return {f"{name}_ms": 1000 * value for name, value in seconds.items()}
