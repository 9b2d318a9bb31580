"""Our client and a broken or hostile server: it reports an error and continues."""

import re
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import msgpack
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

from paradp.policy.plan_stats import PlanStats, PlanTiming
from paradp.policy.requests import Chunk, PlanRequest
from paradp.policy.serving import Remote
from paradp.policy.serving.answers import greeting, plan_message, read_interface, read_plan
from paradp.policy.serving.wire import pack, unpack

REQUEST = PlanRequest({"position": np.zeros((2, 2), np.float32), "constant": np.zeros((2, 1), np.float32)}, noise_seed=1)
LARGE = 2**22


@pytest.fixture
def chunk() -> Chunk:
    actions, whole = np.full((15, 2), 0.5, np.float32), np.full((16, 2), 0.25, np.float32)
    return Chunk(actions, whole, PlanStats(PlanTiming.of_stages(0.001, 0.002, 0.003), 1, 10, 30, 0.5, True))


@contextmanager
def saying(first: bytes | str, answers: list[bytes | str]):
    """A server with this greeting and these answers, in turn; yields its address."""

    def talk(connection) -> None:
        try:
            connection.send(first)
            for _ in connection:
                connection.send(answers.pop(0))
        except ConnectionClosed:
            pass

    with serve(talk, "127.0.0.1", 0, compression=None, max_size=2**26) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join(30)


def changed(message: dict, path: str, value: object) -> dict:
    """A copy with another value at a path such as `horizons/predict`; paths into paradp/… are written with a dot."""
    key, _, rest = path.partition("/")
    key = key.replace(".", "/")
    return message | {key: changed(message[key], rest, value) if rest else value}


NO_NUMBERS = (None, True, "7", b"7", [], {}, float("inf"), float("nan"), -float("inf"), -1, 2**64 - 1)
NO_LENGTHS = (*NO_NUMBERS, 0, 2.5, 16.0, 1e308, 2**31, [16], np.zeros(2), np.float32(16))
METADATA = {
    "task": (None, 7, [], {}),
    "action_convention": (None, 7),
    "control_hz": NO_LENGTHS,
    "horizons": (None, 7, "x", [], {}, {"observe": 2}),
    "horizons/observe": (*NO_LENGTHS, 60_000),
    "horizons/predict": (*NO_LENGTHS, 60_000),
    "horizons/execute": NO_LENGTHS,
    "observation": (None, 7, "x", [], {"position": 2}, {"position": {"shape": []}}, {7: {"shape": [2, 2]}}),
    "observation/position": (None, {}, {"shape": None}, *({"shape": [2, n]} for n in (*NO_LENGTHS, 60_000))),
    "action_parts": (None, 7, "x", [], {}, {7: 2}),
    "action_parts/step": (*NO_LENGTHS, 60_000),
    "action_low": (None, 7, "x", [], [0.0], ["0", "0"], [True, True], [0, float("inf")], [0, float("nan")], np.zeros(3)),
    "action_high": (None, 7, "x", [], [0.0], ["1", "1"], [True, True], [1, float("inf")], [1, float("nan")], np.ones(3)),
    "action_step": (7, "x", [], [0.1], ["1", "1"], [0.1, float("inf")], [float("nan"), 1], np.ones((2, 1))),
}


@pytest.mark.parametrize("path", METADATA)
def test_invalid_metadata_is_refused_in_a_sentence(spec, path):
    good = unpack(pack(greeting(spec, "ddpm", 1000)))
    for value in METADATA[path]:
        with pytest.raises(ValueError, match="metadata") as refused:
            read_interface(changed(good, path, value))
        assert "\n" not in str(refused.value) and len(str(refused.value)) < 300, path


@pytest.mark.parametrize("key", ["task", "observation", "action_parts", "action_low", "horizons", "control_hz"])
def test_an_error_names_missing_metadata(spec, key):
    with pytest.raises(ValueError, match=f"the server's metadata lacks '{key}'"):
        read_interface({k: v for k, v in greeting(spec, "ddpm", 1000).items() if k != key})


def test_limits_arrive_to_the_last_bit(spec):
    """A client compares them with the limits of its own checkpoint."""
    told = greeting(spec, "ddpm", 1000) | {"action_step": [1 / 3, np.pi], "action_low": [-1 / 3, -np.e]}
    interface = read_interface(unpack(pack(told)))
    assert interface.action_step == (1 / 3, np.pi) and interface.action_low == (-1 / 3, -np.e)


NO_ACTIONS = (None, 7, "x", [], [["0", "0"]] * 15, [[True, True]] * 15, np.zeros((15, 3)), np.full((15, 2), np.inf))
PLANS = {
    "actions": (*NO_ACTIONS, np.full((15, 2), np.nan), np.full((15, 2), 1e300), np.zeros((15, 2), bool)),
    "paradp.whole": (*NO_ACTIONS, np.zeros((15, 2)), np.full((16, 2), -np.inf)),
    "policy_timing": (None, 7, "x", [], {}),
    "policy_timing/encode_ms": (None, "1", [], float("inf"), float("nan"), True),
    "paradp.batch": (*NO_NUMBERS, 2.5, 1e400, 2**53),
    "paradp.rounds": (*NO_NUMBERS, 2.5, 1e400),
    "paradp.evaluations": (*NO_NUMBERS, 2.5),
    "paradp.residual": (None, "1", [], float("inf"), float("nan"), 1e400, True),
    "paradp.converged": (None, "yes", 1, 0.0, [], np.zeros(2, bool)),
}


@pytest.mark.parametrize("path", PLANS)
def test_an_invalid_answer_is_refused_in_a_sentence(spec, chunk, path):
    good = unpack(pack(plan_message(chunk, 0.1, 0.1)))
    assert read_plan(good, spec).stats == chunk.stats
    for value in PLANS[path]:
        with pytest.raises(ValueError, match="the server's answer cannot be read") as refused:
            read_plan(changed(good, path, value), spec)
        assert "\n" not in str(refused.value) and len(str(refused.value)) < 300, path


def test_the_client_continues_after_each_invalid_answer(spec, chunk):
    good = plan_message(chunk, 0.1, 0.1)
    wrong = [
        b"",
        b"\xc1",
        b"\x90",
        b"\x91" * 3000,
        b"\xdd\xff\xff\xff\xff",
        pack({}),
        pack(good | {"paradp/rounds": float("inf")}),
        pack(good | {"actions": "none"}),
        pack(good | {"actions": np.full((15, 2), np.nan)}),
        msgpack.packb({"actions": {b"__ndarray__": True, b"data": b"", b"dtype": "|O", b"shape": [2**62]}}),
        pack({"actions": bytes(LARGE // 8)}),
        "",
        "no plan\n\x1b[31m" + "x" * 1000,
        bytes(LARGE),
        "x" * LARGE,
    ]
    with saying(pack(greeting(spec, "ddpm", 1000)), [*wrong, pack(good)]) as uri:
        remote = Remote(uri)
        for answer in wrong:
            with pytest.raises(ValueError) as refused:
                remote.submit(REQUEST).result(60)
            assert len(str(refused.value)) < 400 and str(refused.value).isprintable(), answer[:20]
            assert remote.alive
        assert np.array_equal(remote.submit(REQUEST).result(60).actions, chunk.actions)
        remote.close()


@pytest.mark.parametrize(
    "first",
    [b"", b"\xc1", b"\x90", pack({}), pack({"task": "x"}), "go away\n\x1b[2J", "x" * LARGE, bytes(LARGE), b"\x91" * 100_000],
    ids=range(9),
)
def test_an_invalid_greeting_is_a_connection_error_at_once(first):
    with saying(first, []) as uri:
        before = threading.active_count()
        with pytest.raises(ConnectionError, match="is not a policy server") as refused:
            Remote(uri, connect_seconds=600)
        assert len(str(refused.value)) < 400 and str(refused.value).isprintable()
        _until(lambda: threading.active_count() <= before)  # nothing of the connection is left


def test_a_server_that_comes_back_broken_is_tried_until_it_works(spec, chunk, monkeypatch):
    good, hello = pack(plan_message(chunk, 0.1, 0.1)), pack(greeting(spec, "ddpm", 1000))
    greetings = [hello, b"\x90", "no", pack({"task": "x"}), hello]

    def talk(connection) -> None:
        try:
            greeted.append(connection.send(greetings.pop(0)))
            for _ in connection:
                if greetings:
                    return  # hangs up
                connection.send(good)
        except ConnectionClosed:
            pass

    greeted = []
    with serve(talk, "127.0.0.1", 0, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        remote = Remote(f"ws://127.0.0.1:{server.socket.getsockname()[1]}")
        assert np.array_equal(remote.submit(REQUEST).result(60).actions, chunk.actions)
        assert len(greeted) == 5 and remote.alive
        remote.close()
        server.shutdown()
        thread.join(30)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"history": np.zeros((2, 3), dtype)} for dtype in (complex, object, bool, "U4")),
        *({"history": np.zeros(shape)} for shape in ((3,), (2, 1), (0,), (2, 3, 1), ())),
        *({"noise_seed": seed} for seed in (2**64, 2**63, -(2**80), 1j, "1")),
        {"guess": np.zeros((16, 2), complex)},
        {"budget": object()},
        {"keep": "all"},
    ],
    # An object prints its address, which differs from process to process.
    ids=lambda wrong: re.sub(r" at 0x\w+", "", str(wrong)),
)
def test_a_request_that_cannot_be_sent_is_refused_and_the_client_continues(serving, wrong):
    remote = Remote(serving.uri)
    with pytest.raises(ValueError):
        remote.submit(replace(REQUEST, **wrong)).result(60)
    assert remote.alive and remote.submit(REQUEST).result(120).stats.converged
    remote.close()


def test_a_request_that_is_too_large_for_the_server_is_refused_and_the_client_continues(policy, running):
    with running(policy, most_bytes=400) as serving:
        remote = Remote(serving.uri)
        with pytest.raises(ValueError, match=r"too large for the server: frame with \d+ bytes exceeds limit of 400 bytes"):
            remote.submit(PlanRequest(REQUEST.history, 1, guess=np.zeros((16, 2)))).result(60)
        assert remote.alive and remote.submit(REQUEST).result(120).stats.converged
        remote.close()


def _until(said, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < deadline
        time.sleep(0.01)
