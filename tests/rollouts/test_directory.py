"""Run directories: any content is read as what it should be, or named in a sentence."""

import dataclasses
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from paradp.policy.control.controller import Replan
from paradp.policy.errors import SettingError
from paradp.policy.files.limits import MOST_STEPS
from paradp.policy.identity import describe, differences
from paradp.policy.plan_stats import PlanStats, PlanTiming
from paradp.rollouts.episodes.clocks import ClockChoice
from paradp.rollouts.episodes.config import RolloutConfig
from paradp.rollouts.episodes.directory import RunDirectory
from paradp.rollouts.episodes.identity import RunIdentity, with_sampler_names
from paradp.rollouts.episodes.records import Episode, StepRecord
from paradp.rollouts.episodes.resolving import settled
from paradp.rollouts.episodes.summary import Summary, latency, settings, solver_cost
from paradp.rollouts.evaluation.comparison import compare
from paradp.rollouts.evaluation.grid import folder
from paradp.rollouts.evaluation.identity import GridIdentity, check_evaluation
from paradp.sampler import SamplerChoice
from paradp.scripts.rollout import run_folder

STEP = StepRecord(0, 1.0, True, 0.1, None, (0.0, 1.0))
# What may stand where JSON of a run should.
GARBAGE = {
    "a list": "[]",
    "a text": '"run"',
    "nothing": "",
    "half": '{"task": "lift", ',
    "noise": "\udcff\udcfe",
    "deep": "[" * 1000 + "]" * 1000,
    "very deep": '{"a":' * 100_000,
    "NaN": '{"seed": NaN}',
    "a key twice": '{"seed": 0, "seed": 0}',
}


def episode(seed: int) -> Episode:
    return Episode(seed, 1.0, True, 0.0, 1.0, [STEP])


def write(path: Path, text: str) -> None:
    path.write_bytes(text.encode(errors="surrogateescape"))


@pytest.fixture
def run(tmp_path) -> RunDirectory:
    directory = RunDirectory(tmp_path / "run")
    directory.open({"task": "lift"}, range(3)).release()
    for seed in range(3):
        directory.add(episode(seed))
    return directory


@pytest.mark.parametrize("garbage", GARBAGE)
def test_a_marker_with_other_content_is_named(run, garbage):
    write(run.path / "run.json", GARBAGE[garbage])
    before = sorted((p, p.stat().st_mtime_ns) for p in run.path.rglob("*"))
    with pytest.raises(ValueError, match=r"run\.json cannot be read"):
        run.open({"task": "lift"}, range(3))
    assert run.identity() == {}
    assert sorted((p, p.stat().st_mtime_ns) for p in run.path.rglob("*")) == before


@pytest.mark.parametrize("garbage", GARBAGE)
def test_a_damaged_episode_is_named(run, garbage):
    write(run.path / "episodes/1.json", GARBAGE[garbage])
    with pytest.raises(ValueError, match=r"episodes/1\.json is damaged; remove it to run that episode again"):
        run.episodes(range(3))


def test_an_episode_under_another_name_is_refused(run):
    (run.path / "episodes/2.json").write_bytes((run.path / "episodes/0.json").read_bytes())
    assert len(run.episodes(range(2))) == 2
    with pytest.raises(ValueError, match=r"episodes/2\.json holds the episode of seed 0; remove it"):
        run.episodes(range(3))


def test_an_episode_without_steps_is_named(run):
    run.add(dataclasses.replace(episode(1), steps=[]))
    with pytest.raises(ValueError, match=r"episodes/1\.json holds no control steps"):
        run.episodes(range(3))


def test_the_longest_episode_can_be_read_back(run):
    """A plan in every step, actions of two arms, and all digits of numbers."""
    replan = Replan(PlanStats(PlanTiming(1 / 3, 1 / 3, 1 / 3, 1 / 3), 16, 100, 1600, 1 / 3, True), 3)
    step = StepRecord(7999, 1 / 3, False, 1 / 3, replan, (-1 / 3,) * 20, False, 1e6 / 3, 1 / 3)
    longest = Episode(0, 1.0, True, 1e9 / 3, 1 / 3, [step] * MOST_STEPS)
    run.add(longest)
    assert run.episodes(range(1)) == [longest]
    with pytest.raises(ValueError, match="max_steps must be from 1 to 6000, not 6001"):
        RolloutConfig("lift", SamplerChoice.parse("ddim-3"), run.path, max_steps=MOST_STEPS + 1)


def test_an_earlier_run_is_continued_only_with_the_same_settings(tmp_path):
    """The fixture was written before runs stored their identity in the present form."""
    there = json.loads((Path(__file__).parents[1] / "data/behaviour/run/run.json").read_text())
    write(tmp_path / "run.json", json.dumps(there))
    same = RunIdentity(**there)
    RunDirectory(tmp_path).check(describe(same), range(3))
    for name in ("model_sha256", "checkpoint_sha256", "seed", "clock", "hardware"):
        other = dataclasses.replace(same, **{name: "other"})
        with pytest.raises(SettingError, match=rf"holds another run \({name}: .* there, other here\)") as refused:
            RunDirectory(tmp_path).check(describe(other), range(3))
        assert refused.value.settings == (name,)
    # Packages that the run did not note are not compared; those that it did are.
    RunDirectory(tmp_path).check(describe(dataclasses.replace(same, versions=same.versions | {"shapely": "2"})), range(3))
    with pytest.raises(SettingError, match=r"holds another run \(versions.numpy: .* there, 9 here\)"):
        RunDirectory(tmp_path).check(describe(dataclasses.replace(same, versions=same.versions | {"numpy": "9"})), range(3))


@pytest.mark.parametrize(
    ("there", "here", "said"),
    [
        (("ddim-10", {"spacing": "sine"}), ("ddim-10", {}), "sampler: ddim-10:spacing=sine there, ddim-10 here"),
        (
            ("ddpm-2", {"gain": 1.5, "window": 8, "timesteps": [9, 3]}),
            ("ddpm-2", {"gain": 2.0, "window": 8, "timesteps": [9, 4]}),
            "sampler: ddpm-2:data-variance=1.5:timesteps=9-3 there, ddpm-2:data-variance=2.0:timesteps=9-4 here",
        ),
        (
            ("ddim-10", {"spacing": "sine"}),
            ("para-ddim-10", {"spacing": "sine", "max_rounds": 3}),
            "sampler: ddim-10:spacing=sine there, para-ddim-10:max-rounds=3:spacing=sine here",
        ),
        (("auto", {"chosen": "ddpm", "window": 3}), ("auto", {}), "sampler: auto (chosen: ddpm) there, auto here"),
        (("ddim-10", None), ("ddim-10", {}), "sampler.settings: None there, {} here"),
    ],
)
def test_a_run_of_another_sampler_is_told_by_whole_names(there, here, said):
    identities = [{"sampler": dict(zip(("name", "settings"), one, strict=True))} for one in (there, here)]
    assert differences(*with_sampler_names(*identities)) == said


def test_other_files_among_the_episodes_are_not_episodes(run):
    names = ("notes", "1 (copy)", "01", "-1", "1.0", "²", "١", ".3", "9" * 4000)
    for name in names[:-1]:
        (run.path / f"episodes/{name}.json").write_text("[]")
    (run.path / "episodes/7.json.partial").write_text("")
    assert run.seeds() == {0, 1, 2} and [e.seed for e in run.episodes(range(9))] == [0, 1, 2]


def test_the_next_run_removes_what_a_killed_run_was_writing(run):
    """An incomplete episode and video; finished ones stay."""
    dead = subprocess.Popen(["true"])
    dead.wait()
    (run.path / "videos").mkdir()
    left = [run.path / f"episodes/.7.json.partial-{dead.pid}", run.path / "videos/7.partial.mp4"]
    kept = [run.path / "videos/6-success.mp4", run.path / "episodes/2.json"]
    for path in (*left, kept[0]):
        path.write_bytes(b"half")
    with run.open(run.identity(), range(9)):
        assert not any(path.exists() for path in left) and all(path.exists() for path in kept)


def test_an_episode_that_is_a_pipe_or_a_link_is_refused_without_waiting(run, tmp_path):
    (run.path / "episodes/0.json").unlink()
    os.mkfifo(run.path / "episodes/0.json")
    with pytest.raises(ValueError, match="not a regular file"):
        run.episodes(range(1))
    (run.path / "episodes/1.json").unlink()
    (run.path / "episodes/1.json").symlink_to(tmp_path / "elsewhere.json")
    (tmp_path / "elsewhere.json").write_text("{}")
    with pytest.raises(ValueError, match="leads out of its folder"):
        run.episodes(range(1, 2))


@pytest.mark.parametrize("garbage", GARBAGE)
def test_a_damaged_summary_is_named(tmp_path, garbage):
    write(tmp_path / "summary.json", GARBAGE[garbage])
    with pytest.raises(ValueError, match=r"summary\.json cannot be read"):
        Summary.read(tmp_path / "summary.json")


@pytest.mark.parametrize("content", ["[]", "{", '{"episodes": "many"}'])
def test_a_damaged_evaluation_is_named(tmp_path, content):
    there = GRID | {"episodes": 3}
    (tmp_path / "evaluation.json").write_text(json.dumps(there))
    check_evaluation(tmp_path, grid_identity(), episodes=3)
    write(tmp_path / "evaluation.json", json.dumps(there | json.loads(content)) if "many" in content else content)
    with pytest.raises(ValueError, match=r"evaluation\.json cannot be read"):
        check_evaluation(tmp_path, grid_identity(), episodes=3)


# As evaluations on disk have it.
GRID = {
    "task": "lift",
    "checkpoint": "weights",
    "checkpoint_sha256": "c" * 64,
    "seed": 0,
    "envs": 2,
    "threads": None,
    "cells": ["ddpm", "ddim-10"],
}


def grid_identity(**changed):
    return GridIdentity(**(GRID | {"cells": ("ddpm", "ddim-10")} | changed))


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({"checkpoint_sha256": "d" * 64}, "checkpoint_sha256: cccccccccccc… there, dddddddddddd… here"),
        ({"cells": ("ddim-10", "ddpm")}, r"cells: \['ddpm', 'ddim-10'\] there, \['ddim-10', 'ddpm'\] here"),
        ({"seed": 1, "threads": 1}, "seed: 0 there, 1 here; threads: None there, 1 here"),
    ],
)
def test_an_evaluation_is_continued_only_with_the_same_settings(tmp_path, changed, difference):
    assert list(describe(grid_identity()).items()) == list(GRID.items())
    (tmp_path / "evaluation.json").write_text(json.dumps(GRID | {"episodes": 3}))
    check_evaluation(tmp_path, grid_identity(), episodes=3)
    with pytest.raises(ValueError, match=rf"holds another evaluation \({difference}\)"):
        check_evaluation(tmp_path, grid_identity(**changed), episodes=3)


def test_a_damaged_table_is_named_where_runs_are_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(Summary, "read", classmethod(lambda cls, path: None))
    pd.DataFrame({"seed": [0], "success": [True]}).to_parquet(tmp_path / "episodes.parquet")
    with pytest.raises(ValueError, match=r"episodes\.parquet lacks the columns 'reward', 'steps', 'jerk'"):
        compare({"a": tmp_path})
    table = pd.DataFrame({"seed": [0], "success": [True], "reward": [1.0], "steps": [1], "jerk": [0.0]})
    table.to_parquet(tmp_path / "episodes.parquet")
    (tmp_path / "steps.parquet").write_bytes((tmp_path / "episodes.parquet").read_bytes()[:200])
    with pytest.raises(ValueError, match=r"steps\.parquet is not a readable table, or is cut short"):
        compare({"a": tmp_path})


COLUMNS = {"seed": [0, 1], "success": [True, False], "reward": [1.0, 0.5], "steps": [3, 4], "jerk": [0.0, 1.0]}


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("reward", ["1.0", "x"], "'reward' that holds no numbers"),
        ("reward", [1.0, float("inf")], "'reward' holds values that are not finite"),
        ("jerk", [1.0, None], "'jerk' holds values that are not finite"),
        ("seed", [[0], [1]], "'seed' holds object, not whole numbers"),
        ("seed", [0.0, 1.0], "'seed' holds float64, not whole numbers"),
        ("seed", [1, 1], "two episodes of one seed"),
        ("success", ["True", "False"], "'success' that holds no numbers"),
        ("success", [1, 0], "'success' holds int64, not truth values"),
        ("success", pd.array([True, None], "boolean"), "'success' holds .*, not truth values"),
    ],
)
def test_columns_of_other_kinds_are_named_where_runs_are_compared(tmp_path, monkeypatch, name, values, message):
    monkeypatch.setattr(Summary, "read", classmethod(lambda cls, path: None))
    pd.DataFrame(COLUMNS | {name: values}).to_parquet(tmp_path / "episodes.parquet")
    with pytest.raises(ValueError, match=rf"episodes\.parquet.*{message}"):
        compare({"a": tmp_path})


def test_steps_of_other_kinds_are_named_where_runs_are_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(Summary, "read", classmethod(lambda cls, path: None))
    pd.DataFrame(COLUMNS).to_parquet(tmp_path / "episodes.parquet")
    steps = pd.DataFrame({"seed": [0, 0], "seconds": [0.1, 0.2], "replan_seconds": [0.1, None]})
    for name in ("steps", "alone"):
        steps.to_parquet(tmp_path / f"{name}.parquet")
    with pytest.raises(ValueError, match=r"steps\.parquet lacks the columns 'step', 'replan_lateness', 'action'"):
        compare({"a": tmp_path})
    whole = steps.assign(step=[0, 1], replan_lateness=[0.0, None], action=[[0.0, 1.0], [0.5, 1.0]])
    whole.assign(action=[[0.0, 1.0], [0.5]]).to_parquet(tmp_path / "steps.parquet")
    with pytest.raises(ValueError, match=r"steps\.parquet does not hold an action of the same length in every row"):
        compare({"a": tmp_path})
    whole.to_parquet(tmp_path / "steps.parquet")
    assert compare({"a": tmp_path}).runs[0].steps.drop(columns="action").equals(whole.drop(columns="action"))
    steps.assign(seconds=["0.1", "0.2"]).to_parquet(tmp_path / "alone.parquet")
    with pytest.raises(ValueError, match=r"alone\.parquet has a column 'seconds' that holds no numbers"):
        compare({"a": tmp_path})


@pytest.mark.parametrize("key", ["reward", "seconds", "started"])
def test_an_episode_with_an_infinite_number_is_named(run, key):
    path = run.path / "episodes/1.json"
    write(path, json.dumps(json.loads(path.read_text()) | {key: "HERE"}).replace('"HERE"', "1e999"))
    with pytest.raises(ValueError, match=r"episodes/1\.json is damaged; .*1e999 is too large"):
        run.episodes(range(3))


def test_an_episode_that_took_no_time_is_named(run):
    for seconds in (0.0, -1.0):
        run.add(dataclasses.replace(episode(1), seconds=seconds))
        with pytest.raises(ValueError, match=r"episodes/1\.json is damaged; .*seconds: Input should be greater than 0"):
            run.episodes(range(3))


def test_an_episode_with_actions_of_different_lengths_is_named(run):
    """numpy's own message for such a list names neither a file nor an action."""
    ragged = [dataclasses.replace(STEP, step=i, action=(0.0,) * (1 + i % 2)) for i in range(5)]
    run.add(dataclasses.replace(episode(1), steps=ragged))
    with pytest.raises(ValueError, match=r"episodes/1\.json holds actions of different lengths; remove it"):
        run.episodes(range(3))


def test_episodes_without_a_plan_have_no_latency(run):
    for measure in (latency, solver_cost):
        with pytest.raises(ValueError, match=r"no plan was made in the episodes \(0, 1, 2\)"):
            measure(run.episodes(range(3)))


@pytest.mark.parametrize(
    "sampler",
    ["[]", "5", '{"name": "auto"}', '{"name": "auto", "settings": [1]}', '{"name": 5, "settings": {}}']
    + [f'{{"name": "auto", "settings": {{"chosen": {chosen}}}}}' for chosen in ("5", '"auto"', '"ddpn"', "[]")],
)
def test_a_run_that_was_begun_with_no_sampler_is_named(run, sampler):
    write(run.path / "run.json", f'{{"sampler": {sampler}}}')
    config = RolloutConfig("pusht", SamplerChoice.parse("auto"), run.path)
    with pytest.raises(ValueError, match=r"run\.json is damaged: its sampler: .*; choose another --out"):
        settled(config)
    write(run.path / "run.json", '{"sampler": {"name": "auto", "settings": {"chosen": "ddim-10"}}}')
    assert settled(config)[0].chosen == SamplerChoice.parse("ddim-10")


REPLAYS = {
    "cut.parquet": lambda good: good[: len(good) // 2],
    "noise.parquet": lambda good: np.random.default_rng(0).bytes(500),
    "noise.txt": lambda good: b"\xff\xfe\x00",
    "words.txt": lambda good: b"fast slow",
    "infinite.txt": lambda good: b"1 inf",
    "empty.txt": lambda good: b"",
}


@pytest.mark.parametrize("name", REPLAYS)
def test_invalid_latencies_are_named(tmp_path, name):
    pd.DataFrame({"replan_seconds": [0.1] * 50}).to_parquet(tmp_path / "good.parquet")
    assert ClockChoice.parse(f"replay:{tmp_path / 'good.parquet'}").latencies == (0.1,) * 50
    (tmp_path / name).write_bytes(REPLAYS[name]((tmp_path / "good.parquet").read_bytes()))
    with pytest.raises(ValueError, match=f"{name} holds no latencies"):
        ClockChoice.parse(f"replay:{tmp_path / name}")


def test_latencies_of_other_kinds_and_sizes_are_named(tmp_path):
    for column in (["a"], [[0.1, 0.2]], [-1.0]):
        pd.DataFrame({"replan_seconds": column}).to_parquet(tmp_path / "t.parquet")
        with pytest.raises(ValueError, match=r"t\.parquet holds no latencies"):
            ClockChoice.parse(f"replay:{tmp_path / 't.parquet'}")
    with (tmp_path / "huge.txt").open("wb") as file:
        file.truncate(2**33)
    with pytest.raises(ValueError, match=r"huge\.txt has 8589934592 bytes"):
        ClockChoice.parse(f"replay:{tmp_path / 'huge.txt'}")


def test_the_description_of_a_sampler_contains_everything_that_its_samples_depend_on(spec):
    """A run must not continue with another noise or grid under the same name."""
    texts = ("ddim-10", "ddim-10:eta=0.5", "ddim-10:spacing=trailing", "ddim-2:timesteps=90-10", "ddim-2:timesteps=90-11")
    choices = [SamplerChoice.parse(text) for text in texts]
    kept = [{"name": one.name, "settings": settings(one, one.build(spec.schedule))} for one in choices]
    assert all(one != other for i, one in enumerate(kept) for other in kept[:i])
    assert json.loads(json.dumps(kept)) == kept
    assert kept[0]["settings"] == {}  # what the name says is not said again


def test_a_sampler_with_a_long_grid_has_a_short_folder():
    grids = [list(range(299, last, -1)) for last in (99, 98)]
    texts = [f"ddpm-{len(grid)}:timesteps={'-'.join(map(str, grid))}" for grid in grids]
    for name in (lambda text: run_folder(SamplerChoice.parse(text)), folder):
        assert all(len(name(text)) < 200 for text in texts) and name(texts[0]) != name(texts[1])
        assert name("ddpm-25") == "ddpm-25"
