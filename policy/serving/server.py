"""A websocket server for a policy, with openpi's protocol.

It sends the metadata to a new client, and then answers each message: with a map that contains `actions`, or with an error
text, after which the session continues.
"""

import asyncio
import hmac
import http
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import product

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request, Response

from paradp.policy.control.sources import blank_request
from paradp.policy.diffusion_policy import DiffusionPolicy
from paradp.policy.requests import PlanRequest, plan_together
from paradp.policy.serving.addresses import cannot_listen, listenable
from paradp.policy.serving.answers import greeting, plan_message
from paradp.policy.serving.batcher import Batcher, Busy
from paradp.policy.serving.config import ServerConfig
from paradp.policy.serving.connections import cut_off_who_does_not_read, send, while_connected
from paradp.policy.serving.metrics import Metrics
from paradp.policy.serving.observed import message_limit
from paradp.policy.serving.sessions import Session
from paradp.policy.serving.wire import pack

_LOG = logging.getLogger(__name__)
# At shutdown: time to answer accepted requests, and time for clients to disconnect.
FINISH_SECONDS, CLOSE_SECONDS = 10.0, 3.0


class PolicyServer:
    """Serves a policy to several clients, and plans waiting requests in one batch.

    Args:
        policy: makes the plans.
        config: settings of the server.
        sampler: its name for the greeting; for `auto` the chosen sampler is added.
    """

    def __init__(self, policy: DiffusionPolicy, config: ServerConfig, sampler: str):
        if policy.planned is not None:
            sampler = f"{sampler} ({policy.planned.sampler})"
        self.metrics = Metrics()
        self._policy = policy
        self._config = config
        self._most_bytes = config.most_bytes or message_limit(policy.spec)
        self._greeting = pack(greeting(policy.spec, sampler, self._most_bytes))
        # Images take long to decode, so they are read in a thread, while other clients are answered.
        self._sees = any(feature.kind == "image" for feature in policy.spec.observed.values())
        self._batcher = Batcher(
            partial(plan_together, policy), config.most_together, config.most_waiting, self.metrics.batch
        )
        self._batches: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._answering = 0
        self._clients = 0
        self._idle = asyncio.Condition()

    def warm_up(self) -> None:
        """Makes plans of every batch size, also such as match an earlier one, so that no client waits for compilation."""
        self._policy.prepare(self._config.most_together)
        for together, kept in product(range(1, self._config.most_together + 1), (False, True)):
            plan_together(self._policy, [blank_request(self._policy.spec, kept)] * together)

    async def run(self, stop: asyncio.Event, on_ready: Callable[[int], None] = lambda port: None) -> None:
        """Serves until `stop` is set, and then finishes the accepted requests.

        Args:
            stop: ends the server.
            on_ready: called with the port once clients can connect.

        Raises:
            OSError: the address cannot be used.
        """
        batches = self._batches = asyncio.create_task(self._batcher.run())
        try:
            async with await self._listen() as server:
                unread = asyncio.create_task(cut_off_who_does_not_read(server))
                on_ready(server.sockets[0].getsockname()[1])
                await stop.wait()
                await self._shut_down(server)
                unread.cancel()
        finally:
            batches.cancel()
            self._batcher.close()

    async def _listen(self) -> Server:
        config = self._config
        try:
            return await serve(
                self._serve_client,
                listenable(config.host, config.port),  # type: ignore[arg-type]  # asyncio takes several
                config.port,
                process_request=self._process_request,
                origins=[None],  # browsers always send this header: no web page may use a server on this machine
                compression=None,
                max_size=self._most_bytes,
                max_queue=0,  # do not receive a message before the last one was read
                ssl=config.tls,
            )
        except OSError as error:
            raise cannot_listen(config.host, config.port, error) from error

    async def _shut_down(self, server: Server) -> None:
        """Stops accepting requests, answers the accepted ones, and closes."""
        self._closing.set()
        server.close(close_connections=False)
        with suppress(TimeoutError):  # a client that does not read its answer
            async with asyncio.timeout(FINISH_SECONDS), self._idle:
                await self._idle.wait_for(lambda: self._answering == 0)
        why = CloseCode.GOING_AWAY, "the server is shutting down"
        going = [asyncio.create_task(connection.close(*why)) for connection in server.connections]
        if going:
            await asyncio.wait(going, timeout=CLOSE_SECONDS)
        for connection in server.connections:
            connection.transport.abort()

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answers plain HTTP requests, and refuses clients without a valid key."""
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
        sent = ", ".join(request.headers.get_all("Authorization"))
        # A header is text with any bytes, which websockets may escape.
        return hmac.compare_digest(sent.encode(errors="surrogateescape"), f"Api-Key {self._config.api_key}".encode())

    async def _serve_client(self, connection: ServerConnection) -> None:
        session, before = Session(self._policy.spec), 0.0
        self._clients += 1
        self.metrics.clients.set(self._clients)
        try:
            await send(connection, self._greeting)
            while True:
                # The message, which may contain images, is not kept in memory during planning.
                asked = await self._read(session, await connection.recv())
                if self._closing.is_set():
                    break  # closed without an error text, so that our client retries after a restart of the server
                began = time.perf_counter()
                async with self._accepted():
                    await send(connection, await self._answer(connection, session, asked, before))
                before = time.perf_counter() - began
        except ConnectionClosed as error:
            if error.sent is not None and error.sent.code == CloseCode.MESSAGE_TOO_BIG:
                self._refused("too large", error.sent.reason)
        except TimeoutError:
            pass
        finally:
            self._clients -= 1
            self.metrics.clients.set(self._clients)

    async def _read(self, session: Session, message: str | bytes) -> PlanRequest | ValueError:
        """The request in a client's message, or the error text."""
        return await asyncio.to_thread(_read, session, message) if self._sees else _read(session, message)

    @asynccontextmanager
    async def _accepted(self) -> AsyncIterator[None]:
        """Counts the messages in progress, which a shutdown waits for."""
        self._answering += 1
        try:
            yield
        finally:
            self._answering -= 1
            async with self._idle:
                self._idle.notify_all()

    async def _answer(
        self, connection: ServerConnection, session: Session, asked: PlanRequest | ValueError, before: float
    ) -> str | bytes:
        """The plan, or the error text."""
        began = time.perf_counter()
        try:
            if isinstance(asked, ValueError):
                raise asked
            chunk = await while_connected(connection, self._batcher.submit(asked))
        except Busy as error:
            return self._refused("busy", f"busy: {error}")
        except ValueError as error:
            return self._refused("refused", str(error))
        except ConnectionClosed:
            raise
        except Exception as error:
            _LOG.exception("a plan failed")
            return self._refused("failed", f"the plan failed: {type(error).__name__}")
        session.remember(asked)
        self.metrics.answers.labels("plan").inc()
        self.metrics.plan(chunk.stats)
        if (note := session.take_note()) is not None:
            _LOG.warning("a client sends %s", note)
        return pack(plan_message(chunk, time.perf_counter() - began, before, note))

    def _refused(self, kind: str, why: str) -> str:
        self.metrics.answers.labels(kind).inc()
        return why


def _read(session: Session, message: str | bytes) -> PlanRequest | ValueError:
    """The request in a client's message, or the error text."""
    try:
        if isinstance(message, str):
            raise ValueError("a message must be msgpack in a binary frame, not text")
        return session.read(message)
    except ValueError as error:
        return error
