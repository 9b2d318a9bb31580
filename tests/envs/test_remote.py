"""Environments in a separate process: equal episodes, checked messages, and errors if the process dies."""

import io
import os
import signal
import struct
import subprocess
import sys

import gymnasium
import numpy as np
import pytest

import paradp.envs  # noqa: F401
from paradp.envs.remote import PYTHON_VARIABLE, RemoteEnvironments, wire


def here(env_id, seed, actions, **settings):
    """Observations, rewards and successes of an episode in this process."""
    env = gymnasium.make(env_id, **settings)
    seen, found = env.reset(seed=seed)[0], []
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action.astype(np.float32))
        found.append((observation, reward, terminated, truncated, info["success"]))
    env.close()
    return seen, found


def random_actions(described, steps):
    rng = np.random.default_rng(0)
    return rng.uniform(described.action_low, described.action_high, (steps, len(described.action_low)))


@pytest.mark.parametrize(("task", "env_id"), [("pusht", "paradp/Pusht-v0"), ("square", "paradp/Square-v0")])
def test_episodes_equal_those_in_the_same_process(task, env_id):
    with RemoteEnvironments(task, 2, max_steps=4) as there:
        described = there.description
        actions = random_actions(described, 4)
        first = there.reset([0, 1], [5, 6])
        steps = [there.step([1, 0], np.stack([one, one])) for one in actions]
    assert described.task == task and described.max_steps == 4
    assert list(described.observation) == list(first) and all(array.dtype == np.float32 for array in first.values())
    for row, (place, seed) in enumerate([(1, 6), (0, 5)]):
        seen, outcomes = here(env_id, seed, actions, max_episode_steps=4)
        assert all(np.array_equal(first[key][place], seen[key]) for key in seen)
        for stepped, (observation, reward, terminated, truncated, success) in zip(steps, outcomes, strict=True):
            assert all(np.array_equal(stepped.observation[key][row], observation[key]) for key in observation)
            assert stepped.reward[row] == reward and stepped.success[row] == success
            assert (stepped.terminated[row], stepped.truncated[row]) == (terminated, truncated)
    assert steps[-1].truncated.all() and not steps[-2].truncated.any()


def test_images_and_frames_are_uint8():
    with RemoteEnvironments("pusht", 1, observation="image", render=True) as there:
        seen = there.reset([0], [3])
        frames = there.render([0])
    assert there.description.observation == {"image": (96, 96, 3), "agent_pos": 2}
    assert seen["image"].shape == (1, 96, 96, 3) and seen["image"].dtype == np.uint8 and seen["image"].std() > 1
    assert frames.shape == (1, 512, 512, 3) and frames.dtype == np.uint8


def test_wrong_actions_are_refused_by_name_and_the_process_continues():
    with RemoteEnvironments("pusht") as there:
        there.reset([0], [1])
        with pytest.raises(ValueError, match=r"the action has shape \(7,\), position needs \(2,\)"):
            there.step([0], np.zeros((1, 7)))
        with pytest.raises(ValueError, match="not finite"):
            there.step([0], np.full((1, 2), np.nan))
        with pytest.raises(ValueError, match="got 2 actions for 1 environment"):
            there.step([0], np.zeros((2, 2)))
        with pytest.raises(ValueError, match="no environment has the number 3; the task has 1 environment"):
            there.step([3], np.zeros((1, 2)))
        assert there.step([0], np.full((1, 2), 200.0)).reward.shape == (1,)


def test_an_unread_answer_is_not_taken_for_the_next_one():
    with RemoteEnvironments("pusht", 2) as there:
        first = there.reset([0], [1])
        there.ask_step([0], np.full((1, 2), 200.0))
        assert there.reset([0, 1], [1, 1])["agent_pos"].shape == (2, 2)
        with pytest.raises(RuntimeError, match="call ask_step before stepped"):
            there.stepped()
        there.ask_step([5], np.zeros((1, 2)))
        again = there.reset([0], [1])
    assert all(np.array_equal(first[key], again[key]) for key in first)


def test_a_request_after_an_interrupted_wait_works():
    """The wait is interrupted by a signal whose handler raises, like Ctrl-C, while the process is stopped."""

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with RemoteEnvironments("pusht") as there:
            first = there.reset([0], [1])
            os.kill(there._process.pid, signal.SIGSTOP)
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(KeyboardInterrupt):
                there.step([0], np.full((1, 2), 200.0))
            os.kill(there._process.pid, signal.SIGCONT)
            again = there.reset([0], [1])
            assert all(np.array_equal(first[key], again[key]) for key in first)
    finally:
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("name", ["read", "write"])
def test_an_exception_in_the_middle_of_a_message_ends_the_process(name, monkeypatch):
    def interrupted(pipe, *_):
        if name == "read":
            pipe.read(10)
        raise KeyboardInterrupt

    with RemoteEnvironments("pusht") as there:
        there.reset([0], [1])
        with monkeypatch.context() as patch:
            patch.setattr(wire, name, interrupted)
            with pytest.raises(KeyboardInterrupt):
                there.reset([0], [1])
        for _ in range(2):
            with pytest.raises(ChildProcessError, match=r"was killed by signal 9$"):
                there.reset([0], [1])


def test_the_process_imports_nothing_from_the_working_folder(monkeypatch, tmp_path):
    for name in ("numpy", "gymnasium", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('this is of the working folder')")
    monkeypatch.chdir(tmp_path)
    with RemoteEnvironments("pusht") as there:
        assert there.reset([0], [1])


@pytest.mark.parametrize(
    ("task", "settings", "said"),
    [
        ("squar", {}, "unknown task 'squar' — did you mean 'square'"),
        ("pusht", {"observation": "smell"}, "unknown observation 'smell'"),
        ("pusht", {"action_convention": "delta"}, "unknown action convention 'delta'"),
        ("pusht", {"disturbance": "belt"}, "the task 'pusht' has no disturbance 'belt'"),
        ("pusht", {"gravity": 3}, "unexpected keyword argument 'gravity'"),
    ],
)
def test_unknown_settings_are_refused(task, settings, said):
    with pytest.raises(ValueError, match=said):
        RemoteEnvironments(task, **settings)


def test_an_error_in_one_sentence_reports_the_end_of_the_process():
    there = RemoteEnvironments("pusht")
    there.reset([0], [1])
    os.kill(there._process.pid, signal.SIGKILL)
    with pytest.raises(ChildProcessError, match=r"simulator process of the task 'pusht' \(.*\) was killed by signal 9$"):
        there.step([0], np.zeros((1, 2)))
    there.close()
    with pytest.raises(ChildProcessError, match="is closed"):
        there.reset([0], [1])


def test_an_error_names_an_interpreter_that_is_missing_or_lacks_paradp(tmp_path, monkeypatch):
    with pytest.raises(OSError, match="the simulator's interpreter '/no/python' cannot be started"):
        RemoteEnvironments("pusht", python="/no/python")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S -I "$@"\n')
    python.chmod(0o755)
    monkeypatch.setenv(PYTHON_VARIABLE, str(python))
    with pytest.raises(ChildProcessError, match=r"ended with code 1; set PARADP_SIM_PYTHON to the path"):
        RemoteEnvironments("pusht")


def test_an_error_names_a_missing_simulator(monkeypatch, tmp_path):
    (tmp_path / "gym_pusht.py").write_text("raise ModuleNotFoundError(\"No module named 'gym_pusht'\")")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    with pytest.raises(
        ChildProcessError, match=r"cannot be simulated by .*No module named 'gym_pusht'; set PARADP_SIM_PYTHON"
    ):
        RemoteEnvironments("pusht")


def test_the_process_ends_with_its_client():
    program = (
        "import os, sys\nfrom paradp.envs.remote import RemoteEnvironments\n"
        "print(RemoteEnvironments('pusht')._process.pid, flush=True)\nos._exit(1)"
    )
    child = int(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout)
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        signal.sigtimedwait([], 0.1)
    raise AssertionError("the simulator outlived the process that asked for it")


def test_the_client_needs_neither_gymnasium_nor_a_simulator():
    program = (
        "import sys\nfor name in ('gymnasium', 'robosuite', 'mujoco', 'gym_pusht', 'torch'): sys.modules[name] = None\n"
    )
    program += "import paradp.envs.remote\nprint('ok')"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "ok\n"


def sent(document, arrays):
    pipe = io.BytesIO()
    wire.write(pipe, wire.packed(document, arrays))
    return pipe.getvalue()


def test_messages_are_read_as_they_were_written():
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.array([True, False]),
        "c": np.zeros((0, 4), np.uint8),
        "d": np.float64(3.5).reshape(()),
    }
    said, found = wire.read(io.BytesIO(sent({"do": "x", "n": None}, arrays)))
    assert said == {"do": "x", "n": None} and list(found) == list(arrays)
    assert all(np.array_equal(found[k], v) and found[k].dtype == v.dtype for k, v in arrays.items())
    assert wire.read(io.BytesIO()) is None
    with pytest.raises(ValueError, match="array of object"):
        sent({}, {"a": np.array([None])})


def message(said: bytes, numbers: bytes = b"", magic: bytes = wire.MAGIC) -> bytes:
    return struct.pack("<4sIQ", magic, len(said), len(numbers)) + said + numbers


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (message(b"{}", magic=b"\x80\x04\x95\x00"), "not a message of a simulator"),
        (b"pde1\x00", "not a message of a simulator"),
        (sent({"a": 1}, {"x": np.zeros(9)})[:-1], "cut short: 71 of 72 bytes"),
        (message(b"{"), "is not JSON"),
        (message(b"[" * 100_000), "is not JSON"),
        (message(b"[1]"), "not a JSON object"),
        (message(b"{}"), "does not list its arrays"),
        (message(b'{"arrays": [["x", "object", [1]]]}', bytes(8)), "invalid description of an array"),
        (message(b'{"arrays": [["x", "float32", [-1]]]}', bytes(8)), "invalid description of an array"),
        (message(b'{"arrays": [["x", "float32", [true]]]}', bytes(8)), "invalid description of an array"),
        (message(b'{"arrays": [["x", "float32", [1,1,1,1,1,1,1,1,1]]]}', bytes(4)), "invalid description of an array"),
        (message(b'{"arrays": [["x", "float32", [99999999999]]]}', bytes(8)), "longer than the message"),
        (message(b'{"arrays": [["x", "uint8", [3]]]}', bytes(8)), "5 more bytes"),
        (struct.pack("<4sIQ", wire.MAGIC, 2**31, 0), "the limits are"),
        (struct.pack("<4sIQ", wire.MAGIC, 2, 2**60), "the limits are"),
    ],
)
def test_messages_are_checked(data, said):
    with pytest.raises(ValueError, match=said):
        wire.read(io.BytesIO(data))
