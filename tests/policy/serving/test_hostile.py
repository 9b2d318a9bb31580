"""Thousands of malformed and hostile messages: the server stays up, others are not affected, memory stays flat."""

import contextlib
import os
import random
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import msgpack
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from paradp.policy.serving.wire import pack


def resident() -> int:
    """The memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def hostile(rng: random.Random, message: dict[str, np.ndarray]) -> bytes | str:
    """A random message: usually wrong in some way, sometimes valid."""
    good = pack(message)
    array = {b"__ndarray__": True, b"data": bytes(16), b"dtype": "<f4", b"shape": [2, 2]}

    def spoilt(**changes) -> bytes:
        return msgpack.packb(
            {"position": array | {key.encode(): value for key, value in changes.items()}, "constant": array}
        )

    def flipped() -> bytes:
        data = bytearray(good)
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(data)

    kinds = (
        lambda: rng.randbytes(rng.randint(0, 300)),
        lambda: good[: rng.randrange(len(good))],
        flipped,
        lambda: good + rng.randbytes(rng.randint(1, 20)),
        lambda: "x" * rng.randint(0, 100),
        lambda: b"\x91" * rng.randint(1, 3000),
        lambda: b"\x81\xa1x" * rng.randint(1, 1000) + b"\xc0",
        lambda: b"\xdd" + struct.pack(">I", rng.getrandbits(32)),
        lambda: b"\xc6" + struct.pack(">I", rng.getrandbits(32)) + b"x",
        lambda: spoilt(dtype=rng.choice(["O", "|V8", "<U9", "f4,f4", "(9,)f4", "", "<f99", "x" * 1000])),
        lambda: spoilt(shape=[rng.choice([-1, 2**40, 0, 1.5, None, "2"]) for _ in range(rng.randint(0, 12))]),
        lambda: spoilt(data=rng.choice([b"", "text", None, 1, bytes(17)])),
        lambda: pack(message | {"position": np.full((2, 2), rng.choice([np.nan, np.inf, 1e300]))}),
        lambda: pack(message | {"position": np.zeros([rng.randint(0, 5) for _ in range(rng.randint(0, 4))])}),
        lambda: pack({"".join(chr(rng.randint(32, 0x2FFF)) for _ in range(9)): 1}),
        lambda: pack(message | {"paradp/noise_seed": rng.choice([-1, 2**63, 1.0, "1", True, None])}),
        lambda: pack(message | {"paradp/guess": rng.choice(["x", [], np.zeros(3), np.full((16, 2), np.nan)])}),
        lambda: pack(message | {"paradp/budget": rng.choice([0, -1.0, float("nan"), "1", float("inf")])}),
        lambda: pack(message | {"paradp/reset": rng.choice([1, "yes", 0.0, [], {}])}),
        lambda: msgpack.packb({"position": msgpack.ExtType(1, b"\x80\x04]"), "constant": msgpack.Timestamp(1)}),
        lambda: b"\x80\x04\x95\x0b\x00\x00\x00cposix\nsystem\n",
    )
    return rng.choice(kinds)()


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_the_server_survives_hostile_messages_and_other_clients_are_not_affected(serving, client, message, count):
    rng = random.Random(1)
    good, expected, failures = client(serving.uri), client(serving.uri).ask(message | {"paradp/noise_seed": 1}), []
    done = threading.Event()

    def goes_on() -> None:
        while not done.is_set():
            answer = good.ask(message | {"paradp/noise_seed": 1})
            if isinstance(answer, str) or np.abs(answer["actions"] - expected["actions"]).max() > 1e-4:
                failures.append(answer)
            answered.append(1)
            time.sleep(0.01)

    pool, answered = ThreadPoolExecutor(1), []
    other = pool.submit(goes_on)
    bad, refused, memory = client(serving.uri), 0, 0
    for i in range(count):
        if i == count // 4:
            memory = resident()
        try:
            refused += isinstance(bad.ask(hostile(rng, message)), str)
        except ConnectionClosed:
            bad = client(serving.uri)
    while len(answered) < 3 and not other.done():
        time.sleep(0.01)
    done.set()
    other.result(120)
    assert not failures and len(answered) >= 3
    assert refused > 0.8 * count
    assert resident() - memory < 30 * 2**20
    assert client(serving.uri).ask(message)["actions"].shape == (15, 2)


def test_invalid_websocket_frames_end_only_their_own_connection(serving, client, message):
    rng, good = random.Random(2), client(serving.uri)
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", serving.port), timeout=5) as raw:
            raw.sendall(
                rng.choice([rng.randbytes(200), b"GET / HTTP/1.1\r\n\r\n", b"\r\n\r\n", b"POST /infer HTTP/1.1\r\n\r\n"])
            )
    assert good.ask(message)["actions"].shape == (15, 2)


def frame(data: bytes, first: bool, last: bool) -> bytes:
    """A websocket frame of a fragmented message, masked with zeros."""
    length = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xff" + struct.pack(">Q", len(data))
    return bytes([0x80 * last | 0x02 * first]) + length + bytes(4) + data


def connected(port: int) -> socket.socket:
    """A websocket connection without a client library."""
    raw = socket.create_connection(("127.0.0.1", port), timeout=10)
    raw.sendall(
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    assert raw.recv(4096).startswith(b"HTTP/1.1 101")
    return raw


@pytest.mark.parametrize("pieces", [1, 4, 4000])
def test_unfinished_messages_take_no_more_memory_than_their_limit(policy, running, client, message, pieces):
    """Clients that send all but the last byte of the largest message; first sixteen, then more."""
    size, clients = 2**20, 16
    with running(policy, most_bytes=size) as serving, ExitStack() as stack:
        good = client(serving.uri)
        good.ask(message)
        raws = [stack.enter_context(connected(serving.port)) for _ in range(clients)]
        memory, part = resident(), bytes(size // pieces - 1)
        for raw in raws:
            with contextlib.suppress(OSError):
                for piece in range(pieces):
                    raw.sendall(frame(part, first=piece == 0, last=False))
        assert good.ask(message)["actions"].shape == (15, 2)
        assert resident() - memory < clients * 3 * size


def test_messages_beyond_the_next_one_are_not_received(policy, running, client, message, monkeypatch):
    """While a client's plan is computed, at most one of its next messages is in memory."""
    begun, opened, plan = threading.Event(), threading.Event(), policy.plan

    def held(*arguments, **options):
        begun.set()
        assert opened.wait(120)
        return plan(*arguments, **options)

    size, clients = 2**20, 8
    large = frame(pack(message | {"picture": np.zeros(size - 1000, np.uint8)}), first=True, last=True)
    with running(policy, most_bytes=size) as serving, ExitStack() as stack:
        good = client(serving.uri)
        good.ask(message)
        monkeypatch.setattr(policy, "plan", held)
        memory = resident()
        for _ in range(clients):
            raw = stack.enter_context(connected(serving.port))
            raw.settimeout(0.3)
            with contextlib.suppress(TimeoutError):
                for _ in range(10):
                    raw.sendall(large)
        assert begun.is_set() and resident() - memory < clients * 3 * size
        opened.set()
        assert good.ask(message)["actions"].shape == (15, 2)


def test_a_message_of_endless_empty_fragments_is_cut_off(policy, running, client, message):
    """Empty fragments add nothing to a message's size, but each is kept."""
    with running(policy) as serving, connected(serving.port) as raw:
        good = client(serving.uri)
        good.ask(message)
        memory = resident()
        raw.settimeout(2.0)
        with contextlib.suppress(TimeoutError):  # nothing is received after the limit
            raw.sendall(frame(b"", first=True, last=False))
            for _ in range(100):
                raw.sendall(frame(b"", first=False, last=False) * 1000)
        received = b""
        while b"too many fragments" not in received:  # without a limit, a `TimeoutError`
            received += raw.recv(4096)
        assert resident() - memory < 10 * 2**20
        assert good.ask(message)["actions"].shape == (15, 2)


@pytest.mark.parametrize("key", [b"\xff", b"Api-Key \xff", b"Api-Key secre\xc3\xb6t"])
def test_a_key_of_any_bytes_is_refused(policy, running, key):
    with running(policy, api_key="secret") as serving, socket.create_connection(("127.0.0.1", serving.port), 10) as raw:
        raw.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: " + key + b"\r\n\r\n")
        assert raw.recv(4096).startswith(b"HTTP/1.1 401")
