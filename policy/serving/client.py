"""The client of a policy server, which reconnects automatically."""

import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus, WebSocketException
from websockets.frames import CloseCode
from websockets.sync.client import ClientConnection, connect

from paradp.policy.choices import Blending, Late
from paradp.policy.control.asynchronous import AsyncController
from paradp.policy.control.controller import Hold
from paradp.policy.errors import described, printable
from paradp.policy.observations import as_feature, hint
from paradp.policy.requests import Chunk, PlanRequest
from paradp.policy.serving.addresses import check_api_key, check_url
from paradp.policy.serving.answers import MOST_ANSWER_BYTES, read_interface, read_plan
from paradp.policy.serving.sessions import BUDGET, GUESS, KEEP, NOISE_SEED
from paradp.policy.serving.tls import client_context
from paradp.policy.serving.wire import pack, unpack
from paradp.policy.spec import Interface
from paradp.sampler.lookup import renamed_arguments

RETRY_SECONDS = 0.2
# Seconds without an answer after which the server counts as gone.
ANSWER_SECONDS = 30.0
# Time limit of the closing handshake.
CLOSE_SECONDS = 1.0
# Longest text of a server that is shown.
_MOST_WORDS = 300


class Remote:
    """A `PlanSource` that requests plans from a server. If the server cannot be reached, the last request is retried.

    Every request contains all observed steps, so the server needs no state between requests.

    Args:
        uri: `ws://HOST:PORT`, or `wss://HOST:PORT` for a server that speaks TLS.
        api_key: the server's API key, if it requires one.
        connect_seconds: time limit of the first connection.
        ca: a PEM file with the certificates to trust, for `wss`; the system's by default, or those of `SSL_CERT_FILE`.

    Raises:
        ValueError: the address, the key or the file is invalid.
        ConnectionError: the server cannot be reached or trusted, refuses the key, or is not a policy server.
    """

    def __init__(self, uri: str, api_key: str | None = None, connect_seconds: float = 10.0, ca: Path | None = None):
        check_url(uri)
        if api_key is not None:
            check_api_key(api_key)
        self._uri = uri
        self._headers = {"Authorization": f"Api-Key {api_key}"} if api_key else None
        self._tls = client_context(ca) if uri.startswith("wss:") else None
        self._closed = threading.Event()
        self._open = ExitStack()
        self._connection: ClientConnection | None
        self._connection, self.metadata = self._first_connection(connect_seconds)
        self.spec = read_interface(self.metadata)
        self._requests: queue.SimpleQueue[tuple[PlanRequest, Future[Chunk]] | None] = queue.SimpleQueue()
        # The connection on which a message is being sent, and whether to stop.
        self._sending: tuple[ClientConnection, Callable[[], bool]] | None = None
        self._thread = threading.Thread(target=self._work, name="remote plans", daemon=True)
        self._thread.start()
        threading.Thread(target=self._watch, name="remote sending", daemon=True).start()

    def submit(self, request: PlanRequest) -> "Future[Chunk]":
        """Requests a plan; cancels a pending request."""
        future: Future[Chunk] = Future()
        self._requests.put((request, future))
        return future

    @property
    def alive(self) -> bool:
        """Whether plans are possible; true while disconnected, because the server may come back."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Closes the connection."""
        self._closed.set()
        self._requests.put(None)
        self._thread.join(timeout=10)

    def _first_connection(self, seconds: float) -> tuple[ClientConnection, dict[str, Any]]:
        until = time.monotonic() + seconds
        while True:
            try:
                return self._connect()
            except InvalidStatus as error:
                status, body = error.response.status_code, error.response.body or b""
                raise ConnectionError(f"{self._uri} answers {status}: {_words(body.decode(errors='replace'))}") from error
            except ssl.SSLCertVerificationError as error:
                raise ConnectionError(
                    f"{self._uri} is not trusted: {error.verify_message}; name the file of its authority's certificate (ca)"
                ) from error
            except ssl.SSLError as error:
                raise ConnectionError(f"{self._uri} does not speak TLS; is it ws://? ({error.reason})") from error
            except (OSError, InvalidHandshake, TimeoutError) as error:
                if time.monotonic() > until:
                    hint = "; does it speak TLS (wss://)?" if isinstance(error, InvalidMessage) and not self._tls else ""
                    raise ConnectionError(f"no policy server at {self._uri}: {_words(described(error))}{hint}") from error
                time.sleep(RETRY_SECONDS)
            except (ValueError, WebSocketException) as error:
                raise ConnectionError(f"{self._uri} is not a policy server: {_words(described(error))}") from error

    def _connect(self) -> tuple[ClientConnection, dict[str, Any]]:
        """Connects; returns the connection and the server's metadata."""
        opening = connect(
            self._uri,
            ssl=self._tls,
            compression=None,
            max_size=MOST_ANSWER_BYTES,
            additional_headers=self._headers,
            open_timeout=5,
            close_timeout=CLOSE_SECONDS,
            proxy=None,
        )
        with ExitStack() as stack:
            connection = stack.enter_context(opening)
            greeting = connection.recv(timeout=5)
            if isinstance(greeting, str):
                raise ValueError(greeting)
            metadata = unpack(greeting)
            read_interface(metadata)
            self._open.push(stack.pop_all())
        return connection, metadata

    def _hang_up(self) -> None:
        self._connection = None
        with suppress(WebSocketException, OSError):
            self._open.close()

    def _watch(self) -> None:
        """Ends the connection when sending takes too long: `send` blocks while the server's host reads nothing."""
        while self._thread.is_alive():
            self._thread.join(RETRY_SECONDS)
            if (sending := self._sending) is not None and sending[1]():
                _cut_off(sending[0])

    def _work(self) -> None:
        while (asked := self._requests.get()) is not None and not self._closed.is_set():
            request, future = asked
            try:
                message = self._message(request)
            except (ValueError, TypeError, OverflowError) as error:
                _reject(future, ValueError(f"the request cannot be sent: {error}"))
                continue
            while not self._given_up(future):
                if self._try(message, future):
                    break
                self._closed.wait(RETRY_SECONDS)
            future.cancel()
        self._hang_up()

    def _given_up(self, future: "Future[Chunk]") -> bool:
        """Whether a newer request, or the end, is waiting."""
        return not self._requests.empty() or future.cancelled() or self._closed.is_set()

    def _message(self, request: PlanRequest) -> bytes:
        message: dict[str, Any] = {}
        for key, feature in self.spec.observed.items():
            if key not in request.history:
                raise ValueError(f"the history lacks {key!r}")
            message[key] = as_feature(key, feature, request.history[key])
            if message[key].shape != (wanted := (self.spec.horizons.observe, *feature.shape)):
                shape = message[key].shape
                raise ValueError(f"the history's {key!r} has shape {shape}, not {wanted}{hint(feature, shape)}")
        options = {NOISE_SEED: request.noise_seed, GUESS: request.guess, BUDGET: request.budget, KEEP: request.keep}
        return pack(message | {key: value for key, value in options.items() if value is not None})

    def _try(self, message: bytes, future: "Future[Chunk]") -> bool:
        """Tries a request; returns whether it is finished. Reconnects if there is no answer."""
        if self._connection is None and not self._connect_again(future):
            return future.done()
        assert self._connection is not None
        connection = self._connection
        try:
            answer = self._ask(connection, message, future)
        except (WebSocketException, OSError) as error:
            _cut_off(connection)  # a ping that cannot be sent holds the lock that closing needs
            self._hang_up()
            if isinstance(error, ConnectionClosed) and (why := _too_big(error)):
                _reject(future, ValueError(why))
            elif not self._closed.is_set():
                self._connect_again(future)
            return future.done()
        if isinstance(answer, str) and answer.startswith("busy"):
            return False
        _fulfil(future, answer, self.spec)
        return True

    def _connect_again(self, future: "Future[Chunk]") -> bool:
        """Reconnects; returns whether that succeeded. Fails the request if the server has another policy now."""
        with suppress(WebSocketException, OSError, ValueError):
            connection, metadata = self._connect()
            if read_interface(metadata) == self.spec:
                self._connection = connection
                return True
            self._hang_up()
            _reject(future, ConnectionRefusedError("the server came back with another policy"))
        return False

    def _ask(self, connection: ClientConnection, message: bytes, future: "Future[Chunk]") -> str | bytes:
        """Sends a request and returns the answer.

        Raises:
            ConnectionClosed: the connection ended, or the message could not be sent in time.
            TimeoutError: there is no answer in time, or the request was given up.
        """
        until = time.monotonic() + ANSWER_SECONDS

        def over() -> bool:
            return time.monotonic() > until or self._given_up(future)

        self._sending = connection, over
        try:
            connection.send(message)
        finally:
            self._sending = None
        while not over():
            with suppress(TimeoutError):
                return connection.recv(timeout=RETRY_SECONDS)
        raise TimeoutError


def _cut_off(connection: ClientConnection) -> None:
    """Ends a connection without a closing handshake, also while another thread sends."""
    with suppress(OSError):
        # Not `SSLSocket.shutdown`, which would let a thread that is sending continue without TLS.
        socket.socket.shutdown(connection.socket, socket.SHUT_RDWR)


@renamed_arguments(joining="blending")
class RemoteController(AsyncController):
    """A `Controller` that gets its plans from a server.

    Args:
        uri, api_key, ca: see `Remote`.
        hold, late, execute, budget, dead_after, seed, blending: see `AsyncController`.
    """

    def __init__(
        self,
        uri: str,
        hold: Hold,
        api_key: str | None = None,
        late: Late = "continue-chunk",
        execute: int | None = None,
        budget: float | None = None,
        dead_after: float = 2.0,
        seed: int = 0,
        blending: Blending = "inpaint",
        ca: Path | None = None,
    ):
        super().__init__(Remote(uri, api_key, ca=ca), hold, late, execute, budget, dead_after, seed, blending)


def _fulfil(future: "Future[Chunk]", answer: str | bytes, spec: Interface) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        if isinstance(answer, str):
            raise ValueError(_words(answer))
        future.set_result(read_plan(unpack(answer), spec))
    except ValueError as error:
        future.set_exception(error)
    except Exception as error:  # for any answer of a server: only the request fails, the thread continues
        future.set_exception(ValueError(f"the server's answer cannot be read: {error!r}"))


def _reject(future: "Future[Chunk]", error: Exception) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(error)


def _too_big(error: ConnectionClosed) -> str | None:
    """The error message if a connection was closed because of a message's size; such a message is not sent again."""
    for close, what in ((error.rcvd, "the request is too large for the server"), (error.sent, "the answer is too large")):
        if close is not None and close.code == CloseCode.MESSAGE_TOO_BIG:
            return f"{what}: {_words(close.reason)}"
    return None


def _words(said: str) -> str:
    """A server's text, made safe to print: one short line without control characters."""
    return printable(" ".join(said[: 2 * _MOST_WORDS].split()))[:_MOST_WORDS]
