"""Plans from a server: our own client, which goes on by itself when the server comes back."""

import queue
import threading
import time
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from typing import Any

import numpy as np
from websockets.exceptions import InvalidHandshake, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from paradp.policy.asynchronous import AsyncController
from paradp.policy.choices import Joining, Late
from paradp.policy.controller import Hold
from paradp.policy.diffusion_policy import PlanTiming
from paradp.policy.requests import Chunk, PlanRequest
from paradp.policy.serving.sessions import BUDGET, GUESS, KEEP, NOISE_SEED
from paradp.policy.serving.wire import pack, unpack
from paradp.policy.spec import Horizons, Interface

RETRY_SECONDS = 0.2
# A server is given so long to answer before it counts as gone.
ANSWER_SECONDS = 30.0


class Remote:
    """A `PlanSource` on a server. While it cannot be reached, it is tried again and again for the last request.

    Args:
        uri: `ws://HOST:PORT`.
        api_key: if the server wants one.
        connect_seconds: how long the server may take to be there at first.

    Raises:
        ConnectionError: it cannot be reached, does not let us in, or is no such server.
    """

    def __init__(self, uri: str, api_key: str | None = None, connect_seconds: float = 10.0):
        self._uri = uri
        self._headers = {"Authorization": f"Api-Key {api_key}"} if api_key else None
        self._closed = threading.Event()
        self._open = ExitStack()
        self._connection, metadata = self._first_connection(connect_seconds)
        self.spec = _interface(metadata)
        self.metadata = metadata
        self._requests: queue.SimpleQueue[tuple[PlanRequest, Future[Chunk]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="remote plans", daemon=True)
        self._thread.start()

    def submit(self, request: PlanRequest) -> "Future[Chunk]":
        """Begins a plan; one that is still tried for is given up."""
        future: Future[Chunk] = Future()
        self._requests.put((request, future))
        return future

    @property
    def alive(self) -> bool:
        """Whether plans may still come: a server may come back."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Ends the connection."""
        self._closed.set()
        self._requests.put(None)
        self._thread.join(timeout=10)

    def _first_connection(self, seconds: float) -> tuple[ClientConnection, dict[Any, Any]]:
        until = time.monotonic() + seconds
        while True:
            try:
                return self._connect()
            except InvalidStatus as error:
                status = error.response.status_code
                why = (error.response.body or b"").decode(errors="replace").strip()
                raise ConnectionError(f"{self._uri} answers {status}: {why}") from error
            except (OSError, InvalidHandshake, TimeoutError) as error:
                if time.monotonic() > until:
                    raise ConnectionError(f"no policy server at {self._uri}: {error}") from error
                time.sleep(RETRY_SECONDS)
            except (ValueError, WebSocketException) as error:
                raise ConnectionError(f"{self._uri} is no policy server: {error}") from error

    def _connect(self) -> tuple[ClientConnection, dict[Any, Any]]:
        opening = connect(
            self._uri, compression=None, max_size=None, additional_headers=self._headers, open_timeout=5, proxy=None
        )
        connection = self._open.enter_context(opening)
        greeting = connection.recv(timeout=5)
        if isinstance(greeting, str):
            raise ValueError(greeting)
        return connection, unpack(greeting)

    def _hang_up(self) -> None:
        with suppress(WebSocketException, OSError):
            self._open.close()

    def _work(self) -> None:
        while (asked := self._requests.get()) is not None and not self._closed.is_set():
            request, future = asked
            message = self._message(request)
            while not self._given_up(future):
                if self._try(message, future):
                    break
                self._closed.wait(RETRY_SECONDS)
            future.cancel()
        self._hang_up()

    def _given_up(self, future: "Future[Chunk]") -> bool:
        """A newer request, or the end, waits behind this one."""
        return not self._requests.empty() or future.cancelled() or self._closed.is_set()

    def _message(self, request: PlanRequest) -> bytes:
        ends = np.cumsum(list(self.spec.observation.values()))[:-1]
        message: dict[str, Any] = dict(zip(self.spec.observation, np.split(request.history, ends, axis=1), strict=True))
        options = {NOISE_SEED: request.noise_seed, GUESS: request.guess, BUDGET: request.budget, KEEP: request.keep}
        return pack(message | {key: value for key, value in options.items() if value is not None})

    def _try(self, message: bytes, future: "Future[Chunk]") -> bool:
        """Whether the request is done with; without an answer the connection is made anew, where it can be."""
        try:
            self._connection.send(message)
            answer = self._receive(future)
            if isinstance(answer, str) and answer.startswith("busy"):
                return False
            _fulfil(future, answer, self.spec)
            return True
        except (WebSocketException, OSError):
            self._hang_up()
        if self._closed.is_set():
            return True
        with suppress(WebSocketException, OSError, ValueError):
            self._connection, metadata = self._connect()
            if _interface(metadata) != self.spec:
                self._hang_up()
                if future.set_running_or_notify_cancel():
                    future.set_exception(ConnectionRefusedError("the server came back with another policy"))
                return True
        return False

    def _receive(self, future: "Future[Chunk]") -> str | bytes:
        """An answer.

        Raises:
            TimeoutError: there is none in time, or the request was given up.
        """
        until = time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < until and not self._given_up(future):
            with suppress(TimeoutError):
                return self._connection.recv(timeout=RETRY_SECONDS)
        raise TimeoutError


class RemoteController(AsyncController):
    """A `Controller` whose plans a server makes.

    Args:
        uri, api_key: of the server, see `Remote`.
        hold, late, execute, budget, dead_after, seed, joining: see `AsyncController`.
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
        joining: Joining = "inpaint",
    ):
        super().__init__(Remote(uri, api_key), hold, late, execute, budget, dead_after, seed, joining)


def _interface(metadata: dict[Any, Any]) -> Interface:
    """The policy's interface, from what the server tells of it.

    Raises:
        ConnectionError: it does not tell.
    """
    try:
        return Interface(
            task=metadata["task"],
            observation={key: int(value["shape"][-1]) for key, value in metadata["observation"].items()},
            action={key: int(size) for key, size in metadata["action_parts"].items()},
            action_low=tuple(metadata["action_low"]),
            action_high=tuple(metadata["action_high"]),
            action_convention=metadata["action_convention"],
            control_hz=int(metadata["control_hz"]),
            horizons=Horizons(**metadata["horizons"]),
            action_step=None if metadata["action_step"] is None else tuple(metadata["action_step"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConnectionError(f"the server's metadata is not that of a paradp policy: {error!r}") from error


def _fulfil(future: "Future[Chunk]", answer: str | bytes, spec: Interface) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if isinstance(answer, str):
        future.set_exception(ValueError(answer))
        return
    try:
        future.set_result(_chunk(unpack(answer), spec))
    except (KeyError, TypeError, ValueError) as error:
        future.set_exception(ValueError(f"the server's answer cannot be read: {error!r}"))


def _chunk(told: dict[Any, Any], spec: Interface) -> Chunk:
    horizons, size = spec.horizons, spec.action_size
    actions = _finite(told["actions"], (horizons.predict - horizons.observe + 1, size))
    whole = _finite(told["paradp/whole"], (horizons.predict, size))
    timing = PlanTiming(*(float(told["policy_timing"][f"{stage}_ms"]) / 1000 for stage in _STAGES))
    return Chunk(actions, whole, timing, *(kind(told[f"paradp/{name}"]) for name, kind in _STATISTICS.items()))


def _finite(value: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(value, np.float32)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"an array should be finite and of shape {shape}, and is of shape {array.shape}")
    return array


_STAGES = ("encode", "denoise", "decode")
_STATISTICS: dict[str, Any] = {"batch": int, "rounds": int, "evaluations": int, "residual": float, "converged": bool}
