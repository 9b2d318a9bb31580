"""Recordings for Rerun, read back with its own reader: observations, commands and plans."""

import io
import threading
from dataclasses import replace
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest
import rerun.dataframe
from PIL import Image
from seeing import policy_of

from paradp.policy import Command, RecedingHorizon, Replan
from paradp.policy.plan_stats import PlanStats, PlanTiming
from paradp.rollouts import run_episodes
from paradp.rollouts.episodes.environments import EnvironmentConfig, make_envs
from paradp.rollouts.realtime.reports import TickReport
from paradp.rollouts.realtime.rerun_recording import MOST_WAITING, RecordedEpisodes, RerunRecording
from paradp.scripts import extras
from paradp.scripts.inspecting import inspect
from paradp.scripts.recording import recorded_drive


class Read:
    """A recording, by the numbers of its entities."""

    def __init__(self, path):
        view = rerun.dataframe.load_recording(path).view(index="step", contents="/**")
        table = view.select().read_all()
        self.steps = table.column("step").to_pylist()
        self.seconds = table.column("time").to_pylist()
        self.columns = {name: table.column(name).to_pylist() for name in table.schema.names if name.startswith("/")}

    def numbers(self, entity: str) -> dict[int, float]:
        """Step → number."""
        [name] = [name for name in self.columns if name.startswith(f"/{entity}:Scalar")]
        return {step: value[0] for step, value in zip(self.steps, self.columns[name], strict=True) if value is not None}

    def images(self, entity: str) -> dict[int, np.ndarray]:
        [name] = [name for name in self.columns if name.startswith(f"/{entity}:Blob")]
        found = zip(self.steps, self.columns[name], strict=True)
        return {step: np.asarray(Image.open(io.BytesIO(bytes(value[0])))) for step, value in found if value is not None}

    def points(self, entity: str) -> dict[int, np.ndarray]:
        """Step → strips."""
        [name] = [name for name in self.columns if name.startswith(f"/{entity}:LineStrip")]
        return {step: np.array(value) for step, value in zip(self.steps, self.columns[name], strict=True) if value}


def replan(rounds: int, start: float, ago: int = 0) -> Replan:
    stats = PlanStats(PlanTiming.of_stages(0.001, 0.02, 0.003), 1, rounds, 8 * rounds, 0.5, rounds < 9)
    actions = np.stack([start + np.arange(6.0), -start - np.arange(6.0)], 1)
    return Replan(stats, ago, actions, ago)


def test_all_data_of_a_control_step_are_read_back(tmp_path):
    recording = RerunRecording(tmp_path / "deep" / "er.rrd", 20, {"goal": 2}, lambda actions: actions)
    images = np.arange(4 * 16 * 24 * 3).reshape(4, 16, 24, 3) // 300
    for step in range(4):
        plan = {0: replan(7, 100), 3: replan(9, 200, ago=2)}.get(step)
        seen = {"front": images[step].astype(np.uint8), "arm pos/x": np.array([step, 0.5])}
        recording.step("3", step, seen, np.array([step, -step]), plan)
        seen["arm pos/x"][:] = np.nan  # as its owner may
    recording.close()
    read = Read(tmp_path / "deep" / "er.rrd")
    root = "episode_3"
    assert read.numbers(f"{root}/action/goal/1") == {0: 0, 1: -1, 2: -2, 3: -3}
    assert read.numbers(rf"{root}/observation/arm\ pos\/x/0") == {0: 0, 1: 1, 2: 2, 3: 3}
    seen = read.images(f"{root}/observation/front")
    assert all(np.abs(seen[step].astype(int) - images[step]).max() < 12 for step in range(4))
    assert read.numbers(f"{root}/solver/rounds") == {0: 7, 3: 9}
    assert read.numbers(f"{root}/solver/converged") == {0: 1, 3: 0} and read.numbers(f"{root}/solver/lateness") == {
        0: 0,
        3: 2,
    }
    assert read.numbers(f"{root}/milliseconds/denoise") == {0: 20, 3: 20}
    # The second plan is of the observation of step 1; both are there at the steps that they share.
    assert read.numbers(f"{root}/plan/0/goal/0") == {step: 100 + step for step in range(6)}
    assert read.numbers(f"{root}/plan/1/goal/1") == {1 + step: -200 - step for step in range(6)}
    assert np.array_equal(read.points(f"{root}/plan/path")[3], [replan(9, 200).actions])
    at = dict(zip(read.steps, read.seconds, strict=True))
    assert [at[step].timestamp() for step in range(4)] == pytest.approx([step / 20 for step in range(4)])


def test_the_path_of_each_hand_is_recorded(tmp_path):
    recording = RerunRecording(tmp_path / "r.rrd", 20, {"left": 3, "right": 3}, lambda actions: actions)
    left, right = np.arange(18.0).reshape(6, 3), -np.arange(18.0).reshape(6, 3)
    recording.step("0", 0, {}, None, replace(replan(7, 0), actions=np.hstack([left, right])))
    recording.close()
    assert np.array_equal(Read(tmp_path / "r.rrd").points("episode_0/plan/path")[0], [left, right])


def test_a_loop_does_not_wait_for_the_disk(tmp_path, monkeypatch, caplog):
    recording = RerunRecording(tmp_path / "r.rrd", 20, {"goal": 2}, wait=False)
    disk_goes_on = threading.Event()
    monkeypatch.setattr(recording, "_write_step", lambda step: disk_goes_on.wait(60))
    for step in range(3 * MOST_WAITING):
        recording.step("0", step, {"x": np.zeros(2)})
    disk_goes_on.set()
    recording.close()
    assert "control steps could not be recorded in time" in caplog.text


def test_an_error_in_recording_does_not_end_the_loop_and_is_reported_at_the_end(tmp_path):
    recording = RerunRecording(tmp_path / "r.rrd", 20, {"goal": 2})
    recording.step("0", 0, {"x": np.array(["text"])}, np.zeros(2))
    recording.step("0", 1, {"x": np.zeros(1)}, np.zeros(2))
    with pytest.raises(OSError, match="the recording is not complete: could not convert string"):
        recording.close()
    with pytest.raises(OSError):
        RerunRecording(tmp_path / "r.rrd" / "below", 20, {})


def test_the_episodes_of_a_run_are_recorded(tmp_path):
    """The recording contains the loop's observations and actions, and images of the steps that plans used."""
    policy = policy_of("pusht")
    envs = make_envs(EnvironmentConfig("pusht", "position", None, 12, observation="image", drawn=False), 2)
    recorded = RecordedEpisodes(tmp_path / "run.rrd", policy.spec, lambda actions: actions)
    controllers = [RecedingHorizon(policy) for _ in range(2)]
    episodes = {episode.seed: episode for episode in run_episodes(envs, controllers, range(2), [recorded])}
    envs.close()
    assert recorded.close()
    read = Read(tmp_path / "run.rrd")
    for seed, episode in episodes.items():
        for axis in range(2):
            commanded = read.numbers(f"episode_{seed}/action/goal_xy/{axis}")
            assert commanded == {step.step: pytest.approx(step.action[axis]) for step in episode.steps}
        assert sorted(read.images(f"episode_{seed}/observation/image")) == [0, 7, 8]
        assert len(read.numbers(f"episode_{seed}/observation/agent_pos/0")) == 12
        # A plan's first actions are those that were executed.
        planned = read.numbers(f"episode_{seed}/plan/0/goal_xy/0")
        assert [planned[step] for step in range(8)] == pytest.approx([step.action[0] for step in episode.steps[:8]])
        assert list(read.numbers(f"episode_{seed}/solver/rounds")) == [0, 8]


def test_a_finished_run_makes_no_recording(tmp_path):
    assert not RecordedEpisodes(tmp_path / "none.rrd", policy_of("pusht").spec, None).close()
    assert not (tmp_path / "none.rrd").exists()


def test_the_missing_extra_is_named(monkeypatch):
    def unknown(name):
        raise PackageNotFoundError

    monkeypatch.setattr(extras, "requires", unknown)  # what is declared here counts, and not what is installed
    said = 'this needs rerun-sdk, which is not installed: in a clone of paradp, pip install ".[rerun]"'
    assert extras.what_to_install("rerun") == said


def test_demonstrations_are_recorded(demonstrations, tmp_path):
    inspect(demonstrations.path, rerun=tmp_path / "demos.rrd", episodes=2)
    read, ends = Read(tmp_path / "demos.rrd"), demonstrations.episode_ends
    for episode, (begin, end) in enumerate(zip([0, ends[0]], ends[:2], strict=True)):
        actions, positions = demonstrations.actions()[begin:end], demonstrations.observations()["position"][begin:end]
        for axis in range(2):
            assert list(read.numbers(f"episode_{episode}/action/step/{axis}").values()) == pytest.approx(actions[:, axis])
            seen = read.numbers(f"episode_{episode}/observation/position/{axis}")
            assert list(seen.values()) == pytest.approx(positions[:, axis]) and list(seen) == list(range(end - begin))
    assert not [name for name in read.columns if "episode_2" in name]


def test_a_driven_robot_is_recorded_from_each_episodes_first_step(spec, tmp_path):
    with recorded_drive(tmp_path / "drive.rrd", spec) as record:
        for tick in range(8):
            seed = 5 + tick // 5
            seen = {"position": np.full(2, tick, np.float32), "constant": np.zeros(1, np.float32)}
            report = TickReport(tick, seed, tick % 5 == 0, seen, 0.0)
            record(report, Command(np.full(2, tick / 10), replan(3, 0, ago=1) if tick == 6 else None))
    read = Read(tmp_path / "drive.rrd")
    assert read.numbers("episode_5/observation/position/0") == {step: step for step in range(5)}
    assert read.numbers("episode_6/action/step/1") == {0: 0.5, 1: pytest.approx(0.6), 2: pytest.approx(0.7)}
    assert read.numbers("episode_6/solver/rounds") == {1: 3}
    assert list(read.numbers("episode_6/plan/0/step/0")) == list(range(6))
    with recorded_drive(None, spec) as record:
        record(report, Command(np.zeros(2)))
