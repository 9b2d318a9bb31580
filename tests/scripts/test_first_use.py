"""Messages of commands about a single episode, about the coming work, and about misspelt names."""

import shutil
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from paradp.checkpoints.cards import ModelCard, read_trainings
from paradp.envs import ACTION_CONVENTIONS, find_task
from paradp.policy.data.demonstrations import Demonstrations
from paradp.policy.data.episode import DemonstrationEpisode
from paradp.policy.learning.config import TrainingConfig
from paradp.rollouts.collect import DEFAULT_ACTION_NOISE, describe
from paradp.scripts.console import console
from paradp.scripts.main import main
from paradp.scripts.plans import preparing, say_plans, source_of


@pytest.fixture
def typed(monkeypatch, capsys):
    """The output of a command, or the sentence of its error."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["paradp", *map(str, arguments)])
        monkeypatch.setattr(console, "_width", 300)  # sentences and cells in one line, whatever an earlier test had
        monkeypatch.setenv("COLUMNS", "300")
        try:
            main()
        except SystemExit as ended:
            assert ended.code == 2
            return capsys.readouterr().err.strip()
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize(
    ("task", "convention", "size", "quantities"),
    [
        (
            "pusht",
            "position",
            2,
            ("goal_xy x (px)", "goal_xy y (px)", "agent_pos y"),
        ),
        (
            "door",
            "delta",
            7,
            ("step_pos x (1 = 0.05 m)", "step_rotvec z (1 = 0.5 rad)", "gripper (−1 open, 1 closed)", "eef_pos z"),
        ),
    ],
)
def test_demonstrations_are_shown_by_quantity_with_a_correct_singular(typed, tmp_path, task, convention, size, quantities):
    info = describe_any(task, convention)
    made = Demonstrations.open_or_create(tmp_path / "demos.zarr", info)
    values = {key: np.zeros((1, length), np.float32) for key, length in info.observation.items()}
    made.append(DemonstrationEpisode(values, np.zeros((1, size)), np.zeros((1, size)), 0))
    made.close()
    said = typed("data", "inspect", tmp_path / "demos.zarr")
    assert "1 episode, 1 step; shortest" in said
    for quantity in quantities:
        assert quantity in said


def describe_any(task, convention):
    """Like `describe`, also for tasks without an expert."""
    made, known = describe("pusht", "position", DEFAULT_ACTION_NOISE, 0), ACTION_CONVENTIONS[convention]
    limits = {"action_low": tuple(known.space.low.tolist()), "action_high": tuple(known.space.high.tolist())}
    observation = find_task(task).task.observation
    return replace(made, task=task, action_convention=convention, observation=observation, action=known.parts, **limits)


def test_a_card_of_one_episode_is_written_and_read(spec, info, tmp_path):
    card = ModelCard(spec, info, 1, 1, TrainingConfig(steps=1), "paradp train", "Took 1 minute on 1 thread of it (2 cores).")
    (tmp_path / "README.md").write_text(card.render())
    assert "1 episode (1 control step) of a scripted expert" in card.render()
    [trained] = read_trainings(tmp_path)
    assert (trained.episodes, trained.control_steps, trained.steps) == (1, 1, 1)
    assert trained.describe() == "1 step of batch 256, 1 minute on 1 thread of it (2 cores)"


@pytest.mark.parametrize("command", ["rollout", "evaluate", "drive"])
def test_the_error_for_an_unknown_disturbance_lists_all_disturbances(typed, command):
    said = typed(command, "lift", "--disturbance", "nonsense")
    assert "unknown disturbance 'nonsense'" in said and said.endswith("There are: none, push, belt.")


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (
            ["three/ddpm", "three/auto"],
            "three holds 2 runs and is none itself; name those to release: --runs three/auto three/ddpm",
        ),
        (["grid/cells/ddpm"], "grid holds 1 run and is none itself; name those to release: --runs grid/cells/ddpm"),
        (["many/" + "abcdefgh"[i] for i in range(8)], "--runs many/a many/b many/c many/d many/e many/f … (8 in all)"),
        ([], "empty holds no finished run: it has no summary.json"),
    ],
)
def test_a_comparison_lists_its_runs(typed, tmp_path, monkeypatch, folders, said):
    monkeypatch.chdir(tmp_path)
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "summary.json").write_text("{}")
    name = folders[0].partition("/")[0] if folders else "empty"
    assert said in typed("release", "lift", "--runs", name)
    shutil.rmtree(tmp_path / name, ignore_errors=True)


def test_driving_announces_what_it_does():
    """It announces no measurement if a server plans or a sampler is named."""
    assert preparing("ws://robot:8000", "process", True) == "requesting first plans from ws://robot:8000"
    assert preparing(None, "thread", False) == "loading the policy"
    assert preparing(None, "process", True) == (
        "loading the policy in a separate process; measuring which sampler is fastest here"
    )


def test_driving_names_the_sampler_of_the_server(capsys):
    say_plans(SimpleNamespace(metadata={"sampler": "auto (ddim-5)\x1b[31m"}), "auto", 0.02)
    say_plans(SimpleNamespace(metadata={}), "auto", 0.03)
    assert capsys.readouterr().out.splitlines() == [
        "the server's sampler is auto (ddim-5)?[31m",
        "a plan takes 20 ms",
        "a plan takes 30 ms",
    ]


@pytest.mark.parametrize("plans", ["process", "thread"])
def test_driving_computes_the_policy_on_the_chosen_device(typed, monkeypatch, plans):
    loads = []

    def source(server, ca, plans, load, threads):
        loads.append(load)
        raise ValueError("enough")

    monkeypatch.setattr("paradp.scripts.drive.source_of", source)
    said = typed("drive", "lift", "--plans", plans, "--device", "cpu,cpu", "--sampler", "ddim-5", "--engine", "eager")
    assert "enough" in said
    assert len(loads[0]().devices) == 2


def test_driving_with_plans_in_a_thread_computes_them_on_the_given_threads(monkeypatch):
    given = []
    monkeypatch.setattr("torch.set_num_threads", given.append)
    source_of(None, None, "thread", lambda: SimpleNamespace(spec=None), 3).close()
    assert given == [3]
