"""A policy server in a separate process, and a minimal client of openpi's protocol."""

import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from websockets.sync.client import connect

from torture import world as worlds
from torture.world import OBSERVED, World

START_SECONDS = 120.0
ANSWER_SECONDS = 30.0
HORIZON, SIZE = 16, 2
LOW, HIGH = 0.0, 512.0
# Plans made together with others differ by the rounding of the network; in pixels.
ROUNDING = 0.05


class Server:
    """`paradp serve`, on a port of loopback."""

    def __init__(self, world: World, port: int = 0, log: str = "server.txt") -> None:
        self._world, self._log = world, world.folder / log
        arguments = ["serve", str(world.checkpoint), "--sampler", "ddim-2", "--engine", "eager", "--threads", "1"]
        self.process = worlds.start([*arguments, "--port", str(port)], world.folder / "cache", self._log)
        self.port = self._wait()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def uri(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def resident_mb(self) -> float:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def end(self, how: signal.Signals = signal.SIGTERM) -> int | None:
        """Ends the server; returns its exit code."""
        if self.alive:
            self.process.send_signal(how)
        return worlds.finish(self.process, 30.0)

    def _wait(self) -> int:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.alive:
            if found := re.search(r"ws://127\.0\.0\.1:(\d+)", self.said):
                return int(found[1])
            time.sleep(0.1)
        raise RuntimeError(f"no server: {worlds.complaint(self._log)}")


@contextmanager
def serving(world: World) -> Iterator[Server]:
    server = Server(world)
    try:
        yield server
    finally:
        server.end(signal.SIGKILL)


class Client:
    """A connection without the checks of `paradp`'s own client."""

    def __init__(self, uri: str) -> None:
        self.connection = connect(uri, compression=None, max_size=None, proxy=None, open_timeout=ANSWER_SECONDS)
        self.connection.recv(timeout=ANSWER_SECONDS)

    def ask(self, message: dict[str, Any]) -> Any:
        self.connection.send(packed(message))
        return self.answer()

    def answer(self, seconds: float = ANSWER_SECONDS) -> Any:
        """The answer: a plan as a map, or an error text."""
        told = self.connection.recv(timeout=seconds)
        return told if isinstance(told, str) else unpacked(told)

    def close(self) -> None:
        self.connection.close()


def packed(message: dict[Any, Any]) -> bytes:
    return msgpack.packb(message, default=_pack)


def unpacked(data: bytes) -> Any:
    return msgpack.unpackb(data, object_hook=_unpack, strict_map_key=False)


def _pack(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}


def _unpack(value: dict[Any, Any]) -> Any:
    if b"__ndarray__" in value:
        return np.frombuffer(value[b"data"], value[b"dtype"]).reshape(value[b"shape"])
    return value


def observation(seed: int) -> dict[str, np.ndarray]:
    """The message with both observed steps and a noise seed."""
    values = np.random.default_rng(seed)
    seen = {key: values.uniform(50, 450, (2, size)).astype(np.float32) for key, size in OBSERVED.items()}
    return seen | {"paradp/noise_seed": seed}


def is_sound(plan: Any) -> bool:
    """Whether a plan's actions are finite and within limits."""
    actions = plan.get("actions") if isinstance(plan, dict) else None
    if not isinstance(actions, np.ndarray) or actions.shape != (HORIZON - 1, SIZE):
        return False
    return bool(np.isfinite(actions).all() and (actions >= LOW).all() and (actions <= HIGH).all())
