"""Three ways to run one policy with a camera: equal actions for equal images and noise."""

import itertools
import json
import time
from collections.abc import Iterator
from concurrent.futures import wait
from functools import partial

import numpy as np
import pytest
from seeing import trained_of

from paradp.checkpoints import load_policy, save_checkpoint
from paradp.envs import ACTION_CONVENTIONS
from paradp.policy import RecedingHorizon
from paradp.policy.control.asynchronous import AsyncController
from paradp.policy.control.limits import SafetyLimits
from paradp.policy.control.safety import SafeController
from paradp.policy.control.sources import InProcess
from paradp.rollouts import run_episodes
from paradp.rollouts.episodes.environments import EnvironmentConfig, make_envs
from paradp.rollouts.realtime.drive import Driven, drive
from paradp.rollouts.realtime.reports import TickReport
from paradp.sampler.streams import stream

EXECUTED, SEEDS = 8, range(3)
ENVIRONMENT = EnvironmentConfig("pusht", "position", None, EXECUTED, observation="image")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeing") / "pusht"
    save_checkpoint(trained_of("pusht"), folder, "card")
    return folder


@pytest.fixture
def policy(checkpoint):
    return load_policy(checkpoint, "ddim-2", engine="eager")


def noise_of(seed: int) -> int:
    """The noise of the first plan after `AsyncController.reset(seed)`."""
    return int(stream(seed, "noise").integers(2**63))


class Rolled(RecedingHorizon):
    """A rollout's policy with the noise that `paradp drive` draws for an episode."""

    def reset(self, seed=None):
        super().reset(None if seed is None else noise_of(seed))


class Notes:
    """A subscriber that keeps the observations and the actions of each episode."""

    def __init__(self):
        self.seen, self.actions = {}, {}

    def on_command(self, seed, step, observation, command):
        self.seen.setdefault(seed, []).append({key: np.array(value) for key, value in observation.items()})
        self.actions.setdefault(seed, []).append(np.array(command.action))

    def on_step(self, seed, record, render): ...

    def on_episode(self, episode): ...


def rolled(policy) -> Notes:
    notes, envs = Notes(), make_envs(ENVIRONMENT, 1)
    assert len(list(run_episodes(envs, [Rolled(policy)], SEEDS, [notes]))) == len(SEEDS)
    envs.close()
    return notes


class InStep:
    """A robot for `drive` that waits for its commands, so that its observations equal those of a rollout."""

    period = 0.1

    def __init__(self):
        [self._env] = make_envs(ENVIRONMENT, 1).envs

    def reports(self) -> Iterator[TickReport]:
        ticks = itertools.count()
        for seed in SEEDS:
            observation, _ = self._env.reset(seed=seed)
            yield TickReport(tick := next(ticks), seed, True, observation, time.perf_counter())
            for _ in range(EXECUTED - 1):
                observation, *_ = self._env.step(self._action)
                yield TickReport(tick := next(ticks), seed, False, observation, time.perf_counter(), done=tick - 1)
            yield TickReport(next(ticks), seed, False, observation, time.perf_counter(), done=tick, ended=True)

    def command(self, tick, action):
        self._action = action

    def close(self):
        self._env.close()


class AtOnce(InProcess):
    """Plans in another process while the loop waits, so no control steps pass meanwhile."""

    def submit(self, request):
        future = super().submit(request)
        wait([future], 120)
        return future


def driven(checkpoint, spec) -> Notes:
    source = AtOnce(spec, partial(load_policy, checkpoint, "ddim-2", engine="eager"), threads=1)
    hold = ACTION_CONVENTIONS["position"].hold
    limits = SafetyLimits(np.float32(spec.action_low), np.float32(spec.action_high))
    notes, robot, steps = Notes(), InStep(), itertools.count()
    drive(
        robot,
        SafeController(AsyncController(source, hold, dead_after=60.0), limits, hold),
        limits,
        hold,
        600.0,
        counts := Driven(),
        on_command=lambda report, command: notes.on_command(report.seed, next(steps), report.observation, command),
    )
    robot.close()
    source.close()
    assert not counts.stops and counts.held == 0 and counts.plans == len(SEEDS)
    return notes


CLIENT = """
import json, sys
import numpy as np
from openpi_client.websocket_client_policy import WebsocketClientPolicy

policy = WebsocketClientPolicy("127.0.0.1", int(sys.argv[1]))
plans = {}
for seed, noise in json.loads(sys.argv[3]).items():
    seen = np.load(f"{sys.argv[2]}/{seed}.npz")
    named = {f"observation/{key}": seen[key] for key in seen.files}
    plan = policy.infer(named | {"prompt": "push the T", "paradp/reset": True, "paradp/noise_seed": noise})
    plans[seed] = plan["actions"].tolist()
print(json.dumps(plans))
"""


def by_openpis_client(request, serving, seen: dict, folder) -> dict[int, np.ndarray]:
    for seed, observations in seen.items():
        np.savez(folder / f"{seed}.npz", **observations[0])
    noises = json.dumps({seed: noise_of(seed) for seed in seen})
    plans = json.loads(request.getfixturevalue("openpi")(CLIENT, str(serving.port), str(folder), noises))
    return {int(seed): np.float32(plan) for seed, plan in plans.items()}


def by_ours(request, serving, seen: dict, folder) -> dict[int, np.ndarray]:
    one, plans = request.getfixturevalue("client")(serving.uri), {}
    for seed, observations in seen.items():
        named = {f"observation/{key}": value for key, value in observations[0].items()}
        plans[seed] = one.ask(named | {"paradp/reset": True, "paradp/noise_seed": noise_of(seed)})["actions"]
    return plans


@pytest.mark.parametrize("ask", [by_ours, pytest.param(by_openpis_client, marks=pytest.mark.slow)])
def test_a_rollout_a_server_and_a_driven_robot_execute_the_same_actions(policy, checkpoint, serving, request, tmp_path, ask):
    in_rollout, in_loop = rolled(policy), driven(checkpoint, policy.spec)
    over_the_wire = ask(request, serving, in_rollout.seen, tmp_path)
    for seed in SEEDS:
        for one, other in zip(in_rollout.seen[seed], in_loop.seen[seed], strict=True):
            assert all(np.array_equal(one[key], other[key]) for key in policy.spec.observed)
        assert np.array_equal(in_rollout.actions[seed], in_loop.actions[seed])
        assert np.array_equal(in_rollout.actions[seed], over_the_wire[seed][:EXECUTED])
    assert len({np.array(actions).tobytes() for actions in in_rollout.actions.values()}) == len(SEEDS)
