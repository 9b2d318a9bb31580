"""The server: openpi's protocol, errors that name the problem, clients that do not affect each other."""

import contextlib
import socket
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import msgpack
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from paradp.policy.observations import how_many
from paradp.policy.requests import PlanRequest, plan_together
from paradp.policy.serving import ServerConfig, connections
from paradp.policy.serving.wire import pack
from paradp.sampler import Speculative


def get(url: str, **headers: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=120) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def metric(serving, name: str) -> float:
    lines = get(f"http://127.0.0.1:{serving.port}/metrics")[1].splitlines()
    return float(next(line for line in lines if line.startswith(name + " ")).split()[-1])


def test_the_server_announces_the_policys_observation(serving, client, policy):
    told = client(serving.uri).metadata
    assert told["observation"] == {
        "position": {"shape": [2, 2], "dtype": "float32"},
        "constant": {"shape": [2, 1], "dtype": "float32"},
    }
    assert told["action"] == {"shape": [15, 2], "dtype": "float32"}
    assert told["horizons"] == {"observe": 2, "predict": 16, "execute": 8} and told["control_hz"] == 20
    assert told["sampler"] == "speculative-ddpm:window=8" and told["task"] == "reach"


def test_a_plan_of_the_server_equals_the_local_one(serving, client, policy, message):
    answer = client(serving.uri).ask(message | {"paradp/noise_seed": 7})
    expected = plan_together(policy, [PlanRequest(message, noise_seed=7)])[0]
    assert np.array_equal(answer["actions"], expected.actions) and answer["actions"].dtype == np.float32
    assert np.array_equal(answer["paradp/whole"], expected.whole)
    assert (answer["paradp/rounds"], answer["paradp/batch"]) == (expected.stats.rounds, 1)
    assert 0 < answer["policy_timing"]["infer_ms"] <= answer["server_timing"]["infer_ms"]


def test_the_session_remembers_single_steps(serving, client, message):
    one = client(serving.uri)
    first, second = ({key: value[i] for key, value in message.items()} for i in range(2))
    one.ask(first)
    stepwise = one.ask(second | {"paradp/noise_seed": 3})
    assert np.array_equal(stepwise["actions"], client(serving.uri).ask(message | {"paradp/noise_seed": 3})["actions"])
    # The first step stands for those before it; another client's history is its own.
    alone = client(serving.uri).ask(second | {"paradp/noise_seed": 3})
    repeated = {key: np.stack([value, value]) for key, value in second.items()}
    assert np.array_equal(alone["actions"], one.ask(repeated | {"paradp/noise_seed": 3})["actions"])


def without(message: dict, key: str) -> dict:
    return {k: v for k, v in message.items() if k != key}


def spoilt(**changes) -> bytes:
    """A message with an array `position` that is none."""
    array = {b"__ndarray__": True, b"data": bytes(16), b"dtype": "<f4", b"shape": [2, 2]}
    array |= {key.encode(): value for key, value in changes.items()}
    return msgpack.packb({"position": array, "constant": [[0.0], [0.0]]})


WRONG = {
    "a missing key": (lambda m: without(m, "position"), "the observation lacks 'position'"),
    "nothing": (lambda m: {}, "the observation lacks 'position'"),
    "a shape": (lambda m: m | {"position": np.zeros((2, 3))}, r"'position' has shape (2, 3); it is (2, 2)"),
    "too many steps": (lambda m: m | {"position": np.zeros((3, 2))}, r"'position' has shape (3, 2)"),
    "mixed steps": (lambda m: m | {"position": np.zeros(2)}, "some observations are of one step, others of 2"),
    "NaN": (lambda m: m | {"constant": np.full((2, 1), np.nan)}, "'constant' is not finite"),
    "infinity": (lambda m: m | {"constant": np.full((2, 1), 1e300)}, "'constant' is not finite"),
    "text": (lambda m: m | {"position": "left"}, "'position' must be an array of numbers, not a str"),
    "a map": (lambda m: m | {"position": {"x": 1}}, "'position' must be an array of numbers, not a dict"),
    "a dtype": (
        lambda m: m | {"position": np.zeros((2, 2), bool)},
        "'position' must be an array of numbers, not of dtype bool",
    ),
    "text in an array": (
        lambda m: spoilt(dtype="<U4"),
        "'position' cannot be read: an array's dtype must be one of numbers",
    ),
    "objects": (lambda m: spoilt(dtype="|O"), "'position' cannot be read: an array's dtype must be one of numbers"),
    "too few bytes": (
        lambda m: spoilt(data=bytes(3)),
        "'position' cannot be read: an array of shape (2, 2) and dtype <f4",
    ),
    "a ragged list": (lambda m: m | {"position": [[1, 2], [3]]}, "'position' must be an array of numbers"),
    "a seed": (lambda m: m | {"paradp/noise_seed": -1}, "paradp/noise_seed must be a whole number"),
    "a seed's type": (lambda m: m | {"paradp/noise_seed": True}, "paradp/noise_seed must be a whole number"),
    "a guess": (lambda m: m | {"paradp/guess": np.zeros((16, 3))}, "paradp/guess must be finite and of shape (16, 2)"),
    "what to keep": (
        lambda m: m | {"paradp/guess": np.zeros((16, 2)), "paradp/keep": np.full(16, 1.5)},
        "paradp/keep must be from 0 to 1, and needs paradp/guess",
    ),
    "what to keep of nothing": (lambda m: m | {"paradp/keep": np.zeros(16)}, "paradp/keep must be from 0 to 1, and needs"),
    "a budget": (lambda m: m | {"paradp/budget": -1.0}, "paradp/budget must be a positive number of seconds"),
    "a frame of text": (lambda m: "{}", "msgpack in a binary frame"),
    "no msgpack": (lambda m: b"\xc1", "the message cannot be read"),
    "a list": (lambda m: b"\x90", "a message is a map"),
}


@pytest.mark.filterwarnings("ignore:overflow")
def test_an_error_names_a_wrong_message_and_the_session_continues(serving, client, message):
    one = client(serving.uri)
    for wrong, said in WRONG.values():
        answer = one.ask(wrong(message))
        assert isinstance(answer, str) and said in answer and "Traceback" not in answer
        assert one.ask(message)["actions"].shape == (15, 2)
    refused = metric(serving, 'paradp_answers_total{kind="refused"}')
    assert refused == len(WRONG) and metric(serving, 'paradp_answers_total{kind="plan"}') == len(WRONG)


def test_a_wrong_step_is_not_remembered(serving, client, message):
    one, other = client(serving.uri), client(serving.uri)
    step = {key: value[0] for key, value in message.items()}
    one.ask(step), other.ask(step)
    one.ask(step | {"position": np.full(2, np.nan)})
    last = {key: value[1] for key, value in message.items()} | {"paradp/noise_seed": 1}
    assert np.array_equal(one.ask(last)["actions"], other.ask(last)["actions"])


def test_a_message_that_is_too_large_ends_only_its_own_connection(policy, running, client, message):
    with running(policy, most_bytes=10_000) as serving:
        one, other = client(serving.uri), client(serving.uri)
        assert one.metadata["paradp/max_message_bytes"] == 10_000
        with pytest.raises(ConnectionClosed, match=r"frame with \d+ bytes exceeds limit of 10000 bytes") as closed:
            one.ask(message | {"big": np.zeros(10_000)})
        assert closed.value.rcvd.code == 1009
        assert other.ask(message)["actions"].shape == (15, 2)
        assert metric(serving, 'paradp_answers_total{kind="too large"}') == 1


def test_pictures_of_several_cameras_pass(serving, client, message):
    pictures = {f"camera_{i}": np.zeros((224, 224, 3), np.uint8) for i in range(8)} | {"prompt": "push the T"}
    assert client(serving.uri).ask(message | pictures)["actions"].shape == (15, 2)


def test_a_client_of_single_steps_begins_an_episode_anew(serving, client):
    """Like openpi's client, whose reset sends nothing."""
    seen = {"position": np.full(2, 0.4, np.float32), "constant": np.zeros(1, np.float32), "paradp/noise_seed": 1}
    one = client(serving.uri)
    one.ask(seen | {"position": np.full(2, -0.9, np.float32)})
    again, new = one.ask(seen | {"paradp/reset": True}), client(serving.uri).ask(seen)
    assert np.array_equal(again["actions"], new["actions"])
    assert not np.array_equal(one.ask(seen | {"position": np.zeros(2, np.float32)})["actions"], new["actions"])


def test_a_client_without_a_key_gets_nothing(policy, running, client, message):
    with running(policy, api_key="secret") as serving:
        for told in (None, "Api-Key wrong", "secret", "Api-Key s\xe9cret"):
            with pytest.raises(InvalidStatus) as refused:
                client(serving.uri, additional_headers={"Authorization": told} if told else {})
            assert refused.value.response.status_code == 401
        assert get(f"http://127.0.0.1:{serving.port}/metrics")[0] == 401
        assert get(f"http://127.0.0.1:{serving.port}/healthz") == (200, "OK\n")
        allowed = {"Authorization": "Api-Key secret"}
        assert client(serving.uri, additional_headers=allowed).ask(message)["actions"].shape == (15, 2)
        assert "paradp_plan_seconds_bucket" in get(f"http://127.0.0.1:{serving.port}/metrics", **allowed)[1]


def test_the_number_of_clients_is_limited(policy, running, client, message):
    with running(policy, most_clients=2) as serving:
        one, other = client(serving.uri), client(serving.uri)
        with pytest.raises(InvalidStatus) as refused:
            client(serving.uri)
        assert refused.value.response.status_code == 503
        other.close()
        until(lambda: metric(serving, "paradp_clients") == 1)
        assert client(serving.uri).ask(message)["actions"].shape == one.ask(message)["actions"].shape


class Gate:
    """Holds a policy's plans until it is opened."""

    def __init__(self, policy, monkeypatch):
        self.opened, self.begun, self.batches = threading.Event(), threading.Semaphore(0), []
        plan = policy.plan

        def gated(histories, *rest, **options):
            self.begun.release()
            assert self.opened.wait(120)
            self.batches.append(how_many(histories))
            return plan(histories, *rest, **options)

        monkeypatch.setattr(policy, "plan", gated)


def test_clients_get_the_same_plans_in_a_batch_and_alone(policy, running, client, message, monkeypatch):
    gate = Gate(policy, monkeypatch)
    with running(policy, most_together=4) as serving, ThreadPoolExecutor(6) as pool:
        clients = [client(serving.uri) for _ in range(6)]
        waiting = [pool.submit(clients[0].ask, message | {"paradp/noise_seed": 0})]
        assert gate.begun.acquire(timeout=120)
        # The others come while the network is busy.
        waiting += [pool.submit(clients[i].ask, message | {"paradp/noise_seed": i}) for i in range(1, 6)]
        until(lambda: serving.server._batcher.waiting == 5)
        gate.opened.set()
        answers = [one.result() for one in waiting]
        assert gate.batches == [1, 4, 1]
        for seed, answer in enumerate(answers):
            alone = clients[0].ask(message | {"paradp/noise_seed": seed})
            assert np.abs(alone["actions"] - answer["actions"]).max() < 1e-5


def test_a_full_queue_says_busy_at_once(policy, running, client, message, monkeypatch):
    gate = Gate(policy, monkeypatch)
    with running(policy, most_together=1, most_waiting=2) as serving, ThreadPoolExecutor(4) as pool:
        clients = [client(serving.uri) for _ in range(4)]
        waiting = [pool.submit(clients[0].ask, message)]
        assert gate.begun.acquire(timeout=120)
        waiting += [pool.submit(one.ask, message) for one in clients[1:3]]
        until(lambda: serving.server._batcher.waiting == 2)
        assert clients[3].ask(message) == "busy: 2 requests are waiting; try again later"
        gate.opened.set()
        assert all(one.result()["actions"].shape == (15, 2) for one in waiting)
        assert clients[3].ask(message)["actions"].shape == (15, 2)


def test_a_plan_that_is_not_finite_affects_only_its_own_client(policy, running, client, message, monkeypatch):
    plan = policy.plan
    gate = threading.Event()

    def spoilt(histories, generators, *rest, **options):
        assert gate.wait(120)
        if (histories["position"] > 5).any():
            raise ValueError("the network's predictions are not finite")
        return plan(histories, generators, *rest, **options)

    monkeypatch.setattr(policy, "plan", spoilt)
    with running(policy) as serving, ThreadPoolExecutor(3) as pool:
        bad = message | {"position": np.full((2, 2), 9.0, np.float32)}
        asked = [pool.submit(client(serving.uri).ask, one) for one in (message, bad, message)]
        gate.set()
        answers = [one.result() for one in asked]
    assert answers[1] == "the network's predictions are not finite"
    assert answers[0]["actions"].shape == answers[2]["actions"].shape == (15, 2)


def test_a_shutdown_finishes_accepted_requests(policy, running, client, message, monkeypatch):
    gate = Gate(policy, monkeypatch)
    with running(policy, most_together=1) as serving, ThreadPoolExecutor(3) as pool:
        clients = [client(serving.uri) for _ in range(2)]
        asked = [pool.submit(one.ask, message) for one in clients]
        assert gate.begun.acquire(timeout=120)
        until(lambda: serving.server._batcher.waiting == 1)
        stopping = pool.submit(serving.stop)
        until(serving.server._closing.is_set)
        with pytest.raises((OSError, InvalidStatus)):
            client(serving.uri)
        gate.opened.set()
        assert [one.result()["actions"].shape for one in asked] == [(15, 2)] * 2
        stopping.result()
        with pytest.raises(ConnectionClosed):
            clients[0].ask(message)


def test_a_disconnected_client_leaves_nothing_behind(policy, running, client, message, monkeypatch):
    gate = Gate(policy, monkeypatch)
    with running(policy) as serving:
        gone, other = client(serving.uri), client(serving.uri)
        gone.connection.send(pack(message))
        assert gate.begun.acquire(timeout=120)
        gone.connection.socket.close()
        # It is gone before its plan is made.
        until(lambda: metric(serving, "paradp_clients") == 1)
        assert not gate.opened.is_set() and serving.server._batcher.waiting == 0
        gate.opened.set()
        assert other.ask(message)["actions"].shape == (15, 2)


def test_a_budget_ends_a_plan_and_is_reported(serving, client, message):
    answer = client(serving.uri).ask(message | {"paradp/budget": 1e-6})
    assert answer["paradp/converged"] is False and answer["paradp/rounds"] == 1
    assert np.isfinite(answer["actions"]).all() and (np.abs(answer["actions"]) <= 1).all()
    assert metric(serving, "paradp_plans_unconverged_total") == 1


def test_the_budget_of_one_client_does_not_affect_another(policy, running, client, message, monkeypatch):
    gate = Gate(policy, monkeypatch)
    with running(policy) as serving, ThreadPoolExecutor(4) as pool:
        pool.submit(client(serving.uri).ask, message)
        assert gate.begun.acquire(timeout=120)
        budgets = ({"paradp/budget": 1e-6}, {}, {"paradp/budget": 60.0})
        asked = [pool.submit(client(serving.uri).ask, message | budget) for budget in budgets]
        until(lambda: serving.server._batcher.waiting == 3)
        gate.opened.set()
        assert [one.result()["paradp/converged"] for one in asked] == [False, True, True]


def test_a_guess_reaches_the_solver(serving, client, message, policy, monkeypatch):
    guesses, solve = [], Speculative.solve

    def noted(self, denoiser, condition, noise, guess=None, deadline=None):
        guesses.append(guess)
        return solve(self, denoiser, condition, noise, guess, deadline)

    monkeypatch.setattr(Speculative, "solve", noted)
    guess = np.linspace(-1, 1, 32, dtype=np.float32).reshape(16, 2)
    assert client(serving.uri).ask(message | {"paradp/guess": guess})["paradp/converged"]
    assert np.array_equal(guesses[0][0].numpy(), guess)


def until(said, seconds: float = 120.0) -> None:
    """Waits until a condition holds."""
    deadline = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_requests_of_disconnected_clients_are_dropped(policy, running, client, message, monkeypatch):
    gate = Gate(policy, monkeypatch)
    with running(policy, most_together=1, most_waiting=2) as serving:
        holding = client(serving.uri)
        holding.connection.send(pack(message))
        assert gate.begun.acquire(timeout=120)
        for _ in range(6):
            gone = client(serving.uri)
            gone.connection.send(pack(message))
            until(lambda: serving.server._batcher.waiting == 1)
            gone.close()
            until(lambda: serving.server._batcher.waiting == 0)
        gate.opened.set()
        assert client(serving.uri).ask(message)["actions"].shape == (15, 2)
        assert len(gate.batches) == 2


def test_a_client_that_does_not_read_is_disconnected_and_delays_nobody(policy, running, client, message, monkeypatch):
    monkeypatch.setattr(connections, "READ_SECONDS", 0.3)
    monkeypatch.setattr(connections, "MOST_UNREAD_BYTES", 10_000)
    with running(policy, most_bytes=10_000) as serving, socket.create_connection(("127.0.0.1", serving.port)) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.sendall(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        # Texts, each answered in words, masked by zeros.
        raw.settimeout(1.0)
        frame = b"\x81\x84\x00\x00\x00\x00what"
        with contextlib.suppress(OSError):
            for _ in range(3000):
                raw.sendall(frame * 100)
        alive = client(serving.uri)
        assert alive.ask(message)["actions"].shape == (15, 2)
        until(lambda: metric(serving, "paradp_clients") == 1)
        serving.stop()


def test_by_default_the_server_listens_only_to_this_machine(policy, running):
    assert ServerConfig().host == "127.0.0.1"
    [address] = [a[4][0] for a in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)][:1] or [None]
    with running(policy) as serving:
        if address is not None and not address.startswith("127."):
            with pytest.raises(OSError):
                socket.create_connection((address, serving.port), timeout=2)


def test_the_health_check_fails_after_planning_has_ended(policy, running, client, message, monkeypatch):
    def broken(self):
        raise RuntimeError("a fault of the batcher's own")

    with running(policy) as serving:
        one = client(serving.uri)
        monkeypatch.setattr(type(serving.server._batcher), "_next_batch", broken)
        one.connection.send(pack(message))
        until(lambda: get(f"http://127.0.0.1:{serving.port}/healthz") == (503, "no plans are made any more\n"))


def test_a_web_page_cannot_use_the_server(serving, client):
    with pytest.raises(InvalidStatus) as refused:
        client(serving.uri, origin="https://example.org")
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize(
    ("options", "wrong"),
    [({"api_key": ""}, "empty API key"), ({"port": 70_000}, "port must be"), ({"most_waiting": 0}, "most_waiting must be")],
)
def test_impossible_servers_are_refused(policy, options, wrong):
    from paradp.policy.serving import ServerConfig

    with pytest.raises(ValueError, match=wrong):
        ServerConfig(**options)
