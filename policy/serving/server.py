"""A policy on a websocket, as openpi's clients speak to it.

On connecting a client is sent the metadata, and then gets an answer to each of its messages: a map with `actions`, or a text
that says what was wrong, after which the session goes on.
"""

import asyncio
import hmac
import http
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
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
# For the answers to what was accepted before a shutdown.
FINISH_SECONDS = 10.0


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
    most_bytes: int = 2**20

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
        sampler: its name, for the metadata.
    """

    def __init__(self, policy: DiffusionPolicy, config: ServerConfig, sampler: str):
        self.metrics = Metrics()
        self._policy = policy
        self._config = config
        self._metadata = pack(metadata(policy.spec, sampler))
        self._batcher = Batcher(
            partial(plan_together, policy), config.most_together, config.most_waiting, self.metrics.batch
        )
        self._closing = asyncio.Event()
        self._answering = 0
        self._idle = asyncio.Condition()

    def warm_up(self) -> None:
        """Plans for every number of clients, so that the first of them does not wait for a compiler."""
        self._policy.prepare(self._config.most_together)
        for together in {1, self._config.most_together}:
            plan_together(self._policy, [blank_request(self._policy.spec)] * together)

    async def run(self, stop: asyncio.Event, on_ready: Callable[[int], None] = lambda port: None) -> None:
        """Serves until it is told to stop, and then finishes what it has accepted.

        Args:
            stop: ends it.
            on_ready: told the port when clients can connect.

        Raises:
            OSError: it cannot listen there.
        """
        batches = asyncio.create_task(self._batcher.run())
        config = self._config
        try:
            async with serve(
                self._serve_client,
                config.host,
                config.port,
                process_request=self._process_request,
                compression=None,
                max_size=config.most_bytes,
                max_queue=2,
            ) as server:
                on_ready(server.sockets[0].getsockname()[1])
                await stop.wait()
                await self._shut_down(server)
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
        await asyncio.gather(
            *(connection.close(GOING_AWAY, "the server is shutting down") for connection in server.connections)
        )

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answers what is no websocket, and refuses who must not come in."""
        if request.path == "/healthz":
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        if not self._authorised(request):
            self.metrics.answers.labels("unauthorised").inc()
            return connection.respond(http.HTTPStatus.UNAUTHORIZED, "an API key is needed: Authorization: Api-Key KEY\n")
        if request.path == "/metrics":
            return connection.respond(http.HTTPStatus.OK, self.metrics.text().decode())
        if len(connection.server.connections) >= self._config.most_clients or self._closing.is_set():
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
        self.metrics.clients.inc()
        try:
            await connection.send(self._metadata)
            async for message in connection:
                began = time.perf_counter()
                async with self._accepted():
                    await connection.send(await self._answer(session, message, before))
                before = time.perf_counter() - began
        except ConnectionClosed:
            pass
        finally:
            self.metrics.clients.dec()

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

    async def _answer(self, session: Session, message: str | bytes, before: float) -> str | bytes:
        """The plan, or in words why there is none."""
        if self._closing.is_set():
            return self._refused("closing", "the server is shutting down")
        began = time.perf_counter()
        try:
            if isinstance(message, str):
                raise ValueError("a message must be msgpack in a binary frame, not text")
            chunk = await self._batcher.submit(session.read(unpack(message)))
        except Busy as error:
            return self._refused("busy", f"busy: {error}")
        except ValueError as error:
            return self._refused("refused", str(error))
        except Exception as error:
            _LOG.exception("a plan failed")
            return self._refused("failed", f"the plan failed: {type(error).__name__}")
        self.metrics.answers.labels("plan").inc()
        self.metrics.plan(chunk)
        return pack(_plan_message(chunk, time.perf_counter() - began, before))

    def _refused(self, kind: str, why: str) -> str:
        self.metrics.answers.labels(kind).inc()
        return why


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
