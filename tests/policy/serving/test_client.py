"""Our own client, a controller that reconnects, and openpi's published client."""

import json
import sys
import threading
import time

import numpy as np
import pytest

from paradp.policy.control.asynchronous import AsyncController
from paradp.policy.control.sources import InThread
from paradp.policy.requests import PlanRequest, plan_together
from paradp.policy.serving import Remote, RemoteController
from paradp.policy.serving import server as server_module

ZEROS = {"position": np.zeros((2, 2), np.float32), "constant": np.zeros((2, 1), np.float32)}


def hold(last, observation):
    return np.zeros(2, np.float32) if last is None else last


def seen(step: float) -> dict[str, np.ndarray]:
    return {"position": np.array([step, 0], np.float32), "constant": np.zeros(1, np.float32)}


def run_slowly(controller, steps: int = 30) -> np.ndarray:
    commands = []
    for step in range(steps):
        commands.append(controller.act(seen(step / 100)).action)
        if controller._coming is not None:
            controller._coming[0].result(120)
    return np.stack(commands)


def test_a_remote_controller_acts_like_a_local_one(serving, policy):
    remote, local = RemoteController(serving.uri, hold, seed=4), AsyncController(InThread(policy), hold, seed=4)
    assert remote.spec.observation == policy.spec.observation and remote.spec.horizons == policy.spec.horizons
    assert np.array_equal(run_slowly(remote), run_slowly(local))
    remote.close(), local.close()


def test_a_client_continues_by_itself_when_the_server_comes_back(policy, running):
    with running(policy) as first:
        remote = Remote(first.uri)
        request = PlanRequest(ZEROS, noise_seed=1)
        before = remote.submit(request).result(120)
        first.stop()
        waiting = remote.submit(request)
        time.sleep(0.5)
        assert not waiting.done()
        with running(policy, port=first.port):
            after = waiting.result(120)
            assert np.array_equal(before.actions, after.actions)
    remote.close()


def test_a_robot_holds_while_the_server_is_away(policy, running):
    with running(policy) as first:
        controller = RemoteController(first.uri, hold, dead_after=600.0)
        run_slowly(controller, 9)
        first.stop()
        commands = [controller.act(seen(1 + step / 100)) for step in range(40)]
        assert not commands[0].held and commands[-1].held and sum(command.late for command in commands) == 1
        with running(policy, port=first.port):
            deadline = time.monotonic() + 120
            while controller.act(seen(2 + time.monotonic() % 1)).held and time.monotonic() < deadline:
                time.sleep(0.05)
            assert not controller.act(seen(3)).held
        controller.close()


def test_a_refusal_of_the_server_is_a_value_error(serving):
    remote = Remote(serving.uri)
    with pytest.raises(ValueError, match="'position' is not finite"):
        remote.submit(PlanRequest(ZEROS | {"position": np.full((2, 2), np.nan, np.float32)}, noise_seed=1)).result(120)
    assert remote.submit(PlanRequest(ZEROS, noise_seed=1)).result(120).stats.converged
    remote.close()


def test_an_answer_that_is_not_finite_is_no_plan(policy, running, monkeypatch):
    real = server_module.plan_message
    with running(policy) as serving:
        remote, request = Remote(serving.uri), PlanRequest(ZEROS, noise_seed=1)
        for spoilt in ({"actions": np.full((15, 2), np.nan)}, {"actions": np.zeros((3, 2))}, {"paradp/whole": None}):
            with monkeypatch.context() as patched:
                patched.setattr(server_module, "plan_message", lambda *a, spoilt=spoilt: real(*a) | spoilt)
                with pytest.raises(ValueError, match="the server's answer cannot be read"):
                    remote.submit(request).result(120)
        assert remote.submit(request).result(120).stats.converged
        remote.close()


def test_inpainting_works_through_the_server(serving, policy):
    """Inpainting through the server equals local inpainting."""
    random = np.random.default_rng(0)
    guess, keep = random.uniform(-0.5, 0.5, (16, 2)).astype(np.float32), np.linspace(1, 0, 16, dtype=np.float32)
    request = PlanRequest(ZEROS, 1, guess, None, keep)
    remote = Remote(serving.uri)
    there, here = remote.submit(request).result(120), plan_together(policy, [request])[0]
    assert np.array_equal(there.actions, here.actions)
    free = plan_together(policy, [PlanRequest(request.history, 1, guess)])[0]
    assert np.abs(there.whole[0] - guess[0]).max() < 1e-5 < np.abs(free.whole[0] - guess[0]).max()
    remote.close()


def test_a_client_without_access_or_server_gets_an_error(policy, running):
    with running(policy, api_key="secret") as serving:
        with pytest.raises(ConnectionError, match="answers 401: an API key is needed"):
            Remote(serving.uri)
        Remote(serving.uri, api_key="secret").close()
    with pytest.raises(ConnectionError, match="no policy server at"):
        Remote(serving.uri, connect_seconds=0.3)


CLIENT = """
import json, sys
import numpy as np
from openpi_client.action_chunk_broker import ActionChunkBroker
from openpi_client.websocket_client_policy import WebsocketClientPolicy

host, port = sys.argv[1:]
policy = WebsocketClientPolicy(host, int(port), api_key="secret")
told = policy.get_server_metadata()
fields = {key: np.zeros(value["shape"], value["dtype"]) for key, value in told["observation"].items()}
plan = policy.infer(fields)
broker = ActionChunkBroker(policy, told["horizons"]["execute"])
one = broker.infer(fields | {"prompt": "put the nut on the peg"})
try:
    policy.infer(fields | {"position": np.zeros(7, np.float32)})
    said = ""
except RuntimeError as error:
    said = str(error)
again = policy.infer(fields)
print(json.dumps({
    "actions": plan["actions"].shape, "dtype": str(plan["actions"].dtype), "one": one["actions"].shape, "said": said,
    "again": again["actions"].shape, "timing": [*plan["server_timing"], *plan["policy_timing"]],
}))
"""


@pytest.mark.slow
def test_the_published_openpi_client_works_unchanged(policy, running, openpi):
    def drive(port: int) -> dict:
        return json.loads(openpi(CLIENT, "127.0.0.1", str(port)))

    with running(policy, api_key="secret") as first:
        told = drive(first.port)
        first.stop()
        with running(policy, api_key="secret", port=first.port):
            assert drive(first.port) == told
    assert (told["actions"], told["dtype"], told["one"], told["again"]) == ([15, 2], "float32", [2], [15, 2])
    assert "'position' has shape (7,)" in told["said"]
    assert told["timing"] == ["infer_ms", "prev_total_ms", "infer_ms", "encode_ms", "denoise_ms", "decode_ms"]
    assert threading.active_count() < 20 and "openpi_client" not in sys.modules
