"""Hostile messages to a server, and a client beside them that must not be affected."""

import contextlib
import random
import socket
import struct
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
from websockets.exceptions import ConnectionClosed, WebSocketException

from torture.amounts import Amounts
from torture.serving import HORIZON, ROUNDING, SIZE, Client, Server, is_sound, observation, packed, serving
from torture.tally import Tally
from torture.world import World

GOOD = 8
MOST_AT_ONCE = 20
MOST_MB = 100
SENTENCE_LENGTH = 600
# Share of messages that are larger than some servers take.
LARGE = 0.01


def attack(world: World, amounts: Amounts, rng: random.Random, tally: Tally, done: Callable[[], None]) -> None:
    with serving(world) as server:
        expected = {seed: Client(server.uri).ask(observation(seed))["actions"] for seed in range(GOOD)}
        good, crowd, settled = Client(server.uri), _Crowd(server, rng, tally), 0.0
        sent = 0
        while sent < amounts.messages and server.alive:
            count = min(rng.randint(1, MOST_AT_ONCE), amounts.messages - sent)
            sent += crowd.send(count, done)
            _ask(good, rng.randrange(GOOD), expected, tally)
            crowd.listen()
            if sent >= amounts.messages // 5 and not settled:
                settled = server.resident_mb
        _look_back(server, settled, tally)


def _ask(good: Client, seed: int, expected: dict[int, np.ndarray], tally: Tally) -> None:
    """The client with valid messages, while hostile messages are being answered."""
    try:
        answer = good.ask(observation(seed))
    except (WebSocketException, OSError, TimeoutError) as error:
        tally.fault("lost", f"a client that did nothing wrong got no answer: {type(error).__name__}: {error}")
        return
    tally.count("plans beside them")
    if not is_sound(answer):
        tally.fault("unsafe", f"a client that did nothing wrong got {str(answer)[:200]}")
    elif answer["paradp/batch"] == 1 and not np.array_equal(answer["actions"], expected[seed]):
        tally.fault("lost", f"plan {seed} is another than without the messages beside it")
    elif np.abs(answer["actions"] - expected[seed]).max() > ROUNDING:
        tally.fault("lost", f"plan {seed}, made together with others, is another than alone")


def _look_back(server: Server, settled: float, tally: Tally) -> None:
    if not server.alive:
        tally.fault("unexplained", f"the server ended: {server.said.strip().splitlines()[-1:]}")
        return
    if (grown := server.resident_mb - settled) > MOST_MB:
        tally.fault("oversized", f"the server's memory grew by {grown:.0f} MB")
    if not is_sound(Client(server.uri).ask(observation(0))):
        tally.fault("lost", "after all messages the server gives no plan")
    if "Traceback" in server.said:
        tally.fault("unexplained", f"the server reports: {server.said.strip().splitlines()[-1]}")
    if (code := server.end()) != 0:
        tally.fault("unexplained", f"told to end, the server ends in {code}")


class _Crowd:
    """Connections that send hostile messages."""

    def __init__(self, server: Server, rng: random.Random, tally: Tally) -> None:
        self._server, self._rng, self._tally = server, rng, tally
        self._clients: list[Client] = []
        self._waiting: list[tuple[Client, int]] = []

    def send(self, count: int, done: Callable[[], None]) -> int:
        """Sends messages on one connection without waiting for answers, until it is closed; returns their number."""
        knocks = self._rng.random() < 0.05
        client, sent = self._client(), 0
        with contextlib.suppress(ConnectionClosed):
            for _ in range(count):
                message = hostile(self._rng)
                self._knock() if knocks else client.connection.send(message)
                self._tally.count("messages")
                sent += 1
                done()
        if not knocks:
            self._waiting.append((client, sent))
        return sent

    def listen(self) -> None:
        """Waits for an answer to every message, or for the end of the connection."""
        for client, sent in self._waiting:
            try:
                for _ in range(sent):
                    self._judge(client.answer())
                client.connection.ping()
                continue
            except ConnectionClosed:
                self._tally.count("connections closed")
            except TimeoutError:
                self._tally.fault("lost", "a message was never answered")
            self._clients.remove(client)
        self._waiting.clear()

    def _judge(self, answer: Any) -> None:
        if not isinstance(answer, str):
            self._tally.count("answers with a plan")
            if not is_sound(answer):
                self._tally.fault("unsafe", f"a plan that is not sound: {str(answer)[:300]}")
            return
        self._tally.count("answers in words")
        if answer.startswith("the plan failed") or "\n" in answer or not 0 < len(answer) < SENTENCE_LENGTH:
            self._tally.fault("unexplained", f"no sentence: {answer!r}")

    def _client(self) -> Client:
        if len(self._clients) < 4:
            self._clients.append(Client(self._server.uri))
        return self._rng.choice(self._clients)

    def _knock(self) -> None:
        """Data that is not a websocket at all, or stops in the middle of one."""
        rng = self._rng
        upgrade = (
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        frames = (b"\x82\xff" + struct.pack(">Q", 2**62), b"\x82\x7f" + rng.randbytes(8), rng.randbytes(40), b"\x8f\x80" * 9)
        content = rng.choice(
            [
                rng.randbytes(rng.randint(0, 2000)),
                b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * rng.randint(0, 5000),
                b"GET /" + b"a" * rng.randint(0, 20_000),
                b"POST /metrics HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
                upgrade + rng.choice(frames),
            ]
        )
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._server.port), 5) as connection:
            connection.sendall(content)


def hostile(rng: random.Random) -> bytes | str:
    """A random message that is wrong in some way, or valid but unusual."""
    message = observation(rng.randrange(GOOD))
    if rng.random() < LARGE:  # may end the connection
        return packed(message | {"extra": rng.choice(_LARGE)})
    return rng.choice(_WAYS)(rng, message, packed(message))


def _array(rng: random.Random, **changes: Any) -> bytes:
    array = {b"__ndarray__": True, b"data": bytes(16), b"dtype": "<f4", b"shape": [2, 2]}
    changed = array | {name.encode(): value for name, value in changes.items()}
    if rng.random() < 0.2:
        del changed[rng.choice([b"data", b"dtype", b"shape"])]
    return msgpack.packb(observation(0) | {"agent_pos": changed}, default=lambda value: value.tolist())


def _flipped(rng: random.Random, good: bytes) -> bytes:
    data = bytearray(good)
    for _ in range(rng.choice([1, 1, 2, 8])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _spliced(rng: random.Random, good: bytes) -> bytes:
    at, end = sorted(rng.randrange(len(good)) for _ in range(2))
    return good[:at] + rng.choice([good[at:end] * 2, b"", rng.randbytes(7)]) + good[end:]


_DTYPES = ["O", "|O", "|V8", "<U9", "S4", "f4,f4", "(9,)f4", "", "<f99", "<c8", "<M8[s]", "<f8", ">f4", "|b1", "<f2", "<u8"]
_LENGTHS = [-1, 2**40, 2**62, 0, 1.5, None, "2", True, 2]
_NUMBERS = [np.nan, np.inf, -np.inf, 1e300, 3e38, 1e-45, -1.0]
_NO_ARRAYS = [
    "left",
    None,
    1,
    [],
    [[1, 2], [3]],
    {"x": 1},
    b"\0" * 16,
    [[2**63, 1], [1, 1]],
    [["1"] * 2] * 2,
    [[True] * 2] * 2,
]
_KINDS = [complex, "U3", "S3", "M8[s]", bool, np.int64, np.float16]
_SEEDS = [-1, 2**63, 2**64 - 1, 2**63 - 1, 1.0, "1", True, None, np.int64(7), np.uint64(2**63 + 1), np.float32(2), b"1", []]
_BUDGETS = [0, -1.0, np.nan, "1", np.inf, 1e-9, 1e-320, 2**63, np.float64(0.5), True, [1], b"1"]
_GUESSES = ["x", [], None, *(np.full((HORIZON, SIZE), value) for value in (np.nan, 1e30, 3e38, -1e9, 0.0)), np.zeros(3)]
_KEYS = ["paradp/reset", "reset", "paradp/noise_seed", "paradp/budget", "paradp/guess", "paradp/keep", "prompt", "action"]
_ANYTHING = [True, False, None, "x", 0, 1, [], {}, np.bool_(True), np.zeros(2), np.array(["push"])]
_LARGE = [["a"] * 5000, "x" * 70_000, b"x" * 2_000_000, {str(i): i for i in range(5000)}, np.zeros((700, 700, 3), np.uint8)]
_LENGTH_BYTES = [b"\xdd", b"\xdf", b"\xc6", b"\xdb", b"\xc9"]  # of msgpack's lists, maps, bytes, texts, extensions

_WAYS: tuple[Callable[[random.Random, dict[Any, Any], bytes], bytes | str], ...] = (
    # As it should be: both steps, or the present one alone.
    lambda rng, m, good: good,
    lambda rng, m, good: packed({key: value[1] for key, value in m.items() if key != "paradp/noise_seed"}),
    # No message.
    lambda rng, m, good: rng.randbytes(rng.randint(0, 300)),
    lambda rng, m, good: "x" * rng.randint(0, 100),
    lambda rng, m, good: b"\x91" * rng.randint(1, 3000) + b"\xc0",
    lambda rng, m, good: b"\x81\xa1x" * rng.randint(1, 1000) + b"\xc0",
    lambda rng, m, good: rng.choice(_LENGTH_BYTES) + struct.pack(">I", rng.getrandbits(32)) + b"x",
    lambda rng, m, good: b"\x81\xa2\xff\xfe\x01",
    lambda rng, m, good: b"\x80\x04\x95\x0b\x00\x00\x00cposix\nsystem\n",
    # A message, spoilt.
    lambda rng, m, good: good[: rng.randrange(len(good))],
    lambda rng, m, good: _flipped(rng, good),
    lambda rng, m, good: _flipped(rng, good),
    lambda rng, m, good: _spliced(rng, good),
    lambda rng, m, good: good + rng.randbytes(rng.randint(1, 20)),
    lambda rng, m, good: good * 2,
    # An array that is none.
    lambda rng, m, good: _array(rng, dtype=rng.choice(_DTYPES)),
    lambda rng, m, good: _array(rng, shape=[rng.choice(_LENGTHS) for _ in range(rng.randint(0, 12))]),
    lambda rng, m, good: _array(rng, shape=rng.choice([None, "22", {}, 4, [[2, 2]], [2] * 5000])),
    lambda rng, m, good: _array(rng, data=rng.choice([b"", "text", None, 1, bytes(17), [0.0] * 4, {}])),
    # An observation that is none.
    lambda rng, m, good: packed(m | {"agent_pos": np.full((2, 2), rng.choice(_NUMBERS))}),
    lambda rng, m, good: packed(m | {"agent_pos": np.zeros([rng.randint(0, 5) for _ in range(rng.randint(0, 4))])}),
    lambda rng, m, good: packed(m | {"agent_pos": np.zeros((2, 2), rng.choice(_KINDS))}),
    lambda rng, m, good: packed(m | {"agent_pos": rng.choice(_NO_ARRAYS)}),
    lambda rng, m, good: packed({key: value for key, value in m.items() if key != "agent_pos"}),
    lambda rng, m, good: packed({"".join(chr(rng.randint(32, 0x2FFF)) for _ in range(9)): 1}),
    lambda rng, m, good: msgpack.packb({"agent_pos": msgpack.ExtType(1, b"\x80\x04]"), "other": msgpack.Timestamp(1)}),
    # Options that are none, and those that are.
    lambda rng, m, good: packed(m | {"paradp/noise_seed": rng.choice(_SEEDS)}),
    lambda rng, m, good: packed(m | {"paradp/budget": rng.choice(_BUDGETS)}),
    lambda rng, m, good: packed(m | {"paradp/guess": rng.choice(_GUESSES)}),
    lambda rng, m, good: packed(
        m | {"paradp/guess": np.zeros((HORIZON, SIZE)), "paradp/keep": np.full(HORIZON, rng.choice([0, 0.5, 1, 2, np.nan]))}
    ),
    # What else there may be in a message.
    lambda rng, m, good: packed(m | {rng.choice(_KEYS): rng.choice(_ANYTHING)}),
    lambda rng, m, good: packed(m | {"image": np.zeros((96, rng.choice([8, 96]), 3), np.uint8)}),
    lambda rng, m, good: packed(m | {"extra": {"deep": {"er": [[np.array(["push"])]]}}}),
    lambda rng, m, good: packed(m | {b"agent_pos": 1, 7: 2, None: 3}),
)
