"""Records the messages between a client of openpi and a policy server.

The client is written out here, from the protocol's own words: it stands for clients that robots have had for years, so it
must not change with the package.
"""

import re
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgpack
import numpy as np
from websockets.sync.client import ClientConnection, connect

from behaviour.checkouts import HANGS_SECONDS, Bench, Failed
from behaviour.plans import stored_observations
from behaviour.recording import Values, below, excluded, from_json

TASK = "pusht"
_HORIZON, _ACTION = 16, 2


def pack(message: Mapping[str, Any]) -> bytes:
    """Packs an array like openpi's `msgpack_numpy`."""

    def array(value: Any) -> dict[bytes, Any]:
        if isinstance(value, np.ndarray):
            return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}

    return msgpack.packb(message, default=array)


def unpack(data: bytes) -> dict[str, Any]:
    def array(value: dict[Any, Any]) -> Any:
        if b"__ndarray__" in value:
            return np.ndarray(buffer=value[b"data"], dtype=np.dtype(value[b"dtype"]), shape=value[b"shape"])
        return np.dtype(value[b"dtype"]).type(value[b"data"]) if b"__npgeneric__" in value else value

    return msgpack.unpackb(data, object_hook=array)


def messages() -> dict[str, dict[str, Any] | str | bytes]:
    """The messages of the client, in this order, by paradp's names."""
    before, present = (steps[0] for steps in stored_observations(TASK))
    other = stored_observations(TASK)[1][1]
    both = {key: np.stack([before[key], present[key]]) for key in before}
    random = np.random.default_rng(0)
    guess = random.uniform(-1, 1, (_HORIZON, _ACTION)).astype(np.float32)
    first_key = next(iter(both))
    return {
        "both steps": both | {"paradp/noise_seed": 7},
        "the first step": before | {"paradp/noise_seed": 8, "paradp/reset": True},
        "the second step": present | {"paradp/noise_seed": 2**40 + 1},
        "a new episode": other | {"paradp/noise_seed": 9, "paradp/reset": True},
        "a guess": both | {"paradp/noise_seed": 10, "paradp/guess": guess, "paradp/budget": 1000.0},
        "a guess to keep": both
        | {"paradp/noise_seed": 11, "paradp/guess": guess, "paradp/keep": np.linspace(1, 0, _HORIZON, dtype=np.float32)},
        "a picture beside it": both | {"paradp/noise_seed": 7, "image": np.zeros((8, 8, 3), np.uint8), "prompt": "push"},
        "other kinds of numbers": {key: value.astype(np.float64) for key, value in both.items()}
        | {"paradp/noise_seed": np.int64(7)},
        "a key is missing": {key: value for key, value in both.items() if key != first_key},
        "a shape is wrong": both | {first_key: np.zeros((3, 3), np.float32)},
        "not finite": both | {first_key: np.full_like(both[first_key], np.nan)},
        "text": "hello",
        "no msgpack": b"\xc1",
        "after all that": both | {"paradp/noise_seed": 7},
    }


def record(bench: Bench, *options: str) -> Values:
    """Starts a server, exchanges messages with it, and ends it.

    Raises:
        Failed: it does not start, or ends with an error.
    """
    with _server(bench, *options) as address:
        values = {"healthz": np.array(_get(address, "healthz")), "metrics": np.array(_metrics(_get(address, "metrics")))}
        with connect(f"ws://{address}", compression=None, max_size=None, proxy=None) as connection:
            values |= below("greeting", _flat(unpack(connection.recv(timeout=60))))  # type: ignore[arg-type]
            for name, message in messages().items():
                values |= below(name, _answer(connection, message))
    return {name: value for name, value in values.items() if not excluded(name)}


def _answer(connection: ClientConnection, message: dict[str, Any] | str | bytes) -> Values:
    connection.send(pack(message) if isinstance(message, dict) else message)
    answer = connection.recv(timeout=60)
    return {"words": np.array(answer)} if isinstance(answer, str) else _flat(unpack(answer))


def _flat(message: Mapping[str, Any]) -> Values:
    """Arrays by their key, everything else by its path."""
    arrays = {key: value for key, value in message.items() if isinstance(value, np.ndarray | np.generic)}
    rest = {key: value for key, value in message.items() if key not in arrays}
    return {key: np.asarray(value) for key, value in arrays.items()} | {name[1:]: value for name, value in from_json(rest)}


@contextmanager
def _server(bench: Bench, *options: str) -> Iterator[str]:
    """A policy server; yields its address."""
    process = bench.start("serve", TASK, "--port", 0, "--together", 1, *options)
    assert process.stdout is not None
    hangs = threading.Timer(HANGS_SECONDS, process.kill)
    hangs.start()
    try:
        said = ""
        while (found := re.search(r"ws://([\w.]+:\d+)", said)) is None:
            if not (line := process.stdout.readline()):
                raise Failed(f"no server: {said[-500:]}")
            said += line
        yield found[1]
        process.terminate()
        if process.wait(60):
            raise Failed(f"the server ended in {process.returncode}: {process.stdout.read()[-500:]}")
    finally:
        hangs.cancel()
        process.kill()
        process.wait()
        process.stdout.close()


def _get(address: str, path: str) -> str:
    with urllib.request.urlopen(f"http://{address}/{path}", timeout=60) as answer:
        return answer.read().decode()


def _metrics(page: str) -> list[str]:
    """Names of measured values."""
    return sorted({line.split()[2] for line in page.splitlines() if line.startswith("# TYPE")})
