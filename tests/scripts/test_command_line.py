"""The command `paradp` from a user's view: on the shipped Lift policy, with real processes and real kills."""

import contextlib
import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import imageio.v3 as iio
import numpy as np
import pandas as pd
import pytest
from vectors import joined

from paradp.checkpoints import find_checkpoint
from paradp.envs import TASKS, TaskEntry
from paradp.policy.data.demonstrations import Demonstrations
from paradp.policy.engines.autotune import autotuner, candidates
from paradp.rollouts import Summary
from paradp.sampler import sampler_names

PARADP = [sys.executable, "-c", "from paradp.scripts.main import main; main()"]


@pytest.fixture
def lift_checkpoint(tmp_path) -> Path:
    return Path(shutil.copytree(find_checkpoint("lift"), tmp_path / "lift"))


def rollout_arguments(out: Path, *more: str) -> list[str]:
    return ["rollout", "lift", "--sampler", "para-ddpm", "--videos", "0", "--out", str(out), *more]


def outcome(out: Path) -> list[tuple]:
    table = pd.read_parquet(out / "episodes.parquet")
    return list(zip(table["seed"], table["success"], table["steps"], table["rounds_mean"], strict=True))


def wait_for(condition, process, seconds=120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)


def test_a_rollout_writes_all_its_files(paradp, tmp_path):
    out = tmp_path / "run"
    code, printed, _ = paradp("rollout", "lift", "--sampler", "ddpm,para-ddpm", "--episodes", "2", "--out", str(out))
    assert code == 0 and "success (95 %)" in printed and "2 episodes can show how long plans take" in printed
    assert (out / "comparison.png").stat().st_size > 10_000
    for name in ("ddpm", "para-ddpm"):
        summary = json.loads((out / name / "summary.json").read_text())
        assert summary["task"] == "lift" and summary["sampler"]["name"] == name
        settings = {"window": 20, "tolerance": 0.1, "split": "unit", "anderson": 0} if name == "para-ddpm" else {}
        assert summary["sampler"]["settings"] == settings
        assert summary["seconds_per_episode_batch1"]["mean"] > 0
        assert summary["episodes"] == 2 and 0 <= summary["success"]["ci95"][0] <= summary["success"]["mean"] <= 1
        stages = summary["latency_ms_batch1"]
        assert all(0 < stages[stage]["p50"] < stages["replan"]["p50"] for stage in ("encode", "denoise"))
        for moment in ("replan", "step", "encode", "denoise"):
            latency = summary["latency_ms"][moment]
            assert latency["p50"] <= latency["p95"] <= latency["p99"] <= latency["max"]
        assert summary["checkpoint"]["name"] == "lift" and len(summary["checkpoint"]["sha256"]) == 64
        assert {"clock", "hardware", "versions", "seed", "throughput_steps_per_s", "seconds_per_episode"} <= summary.keys()
        steps = pd.read_parquet(out / name / "steps.parquet")
        episodes = pd.read_parquet(out / name / "episodes.parquet")
        assert len(steps) == episodes["steps"].sum() and episodes["seed"].tolist() == [0, 1]
        planned = steps[steps["replan_rounds"].notna()]
        assert (planned["step"] % 8 == 0).all() and (planned["replan_rounds"] <= 100).all()
        assert [p.suffix for p in (out / name / "videos").iterdir()] == [".mp4"]
    assert json.loads((out / "ddpm/summary.json").read_text())["solver"]["rounds_mean"] == 100
    films = [iio.imread(film, plugin="pyav") for film in sorted(out.glob("*/videos/0-*.mp4"))]
    together = iio.imread(out / "side-by-side.mp4", plugin="pyav")
    assert len(films) == 2 and together.shape == (max(map(len, films)), films[0].shape[1], 2 * films[0].shape[2], 3)
    assert films[0].shape[1:] == (610, 512, 3)


def test_without_a_renderer_a_rollout_continues_and_reports_it(paradp, tmp_path, monkeypatch):
    why = "MUJOCO_GL=osmesa needs OSMesa"
    monkeypatch.setattr("paradp.envs.robosuite_task.render_problem", lambda: why)
    out = tmp_path / "run"
    code, printed, complaint = paradp(
        "rollout", "lift", "--sampler", "ddim-2", "--episodes", "1", "--max-steps", "3", "--out", str(out)
    )
    assert code == 0 and f"no films: {why}" in printed and not complaint
    assert (out / "episodes.parquet").exists() and not list(out.glob("**/*.mp4"))


def test_a_loop_can_be_watched(paradp, tmp_path):
    arguments = rollout_arguments(tmp_path / "run", "--episodes", "1", "--live", "--trace")
    code, printed, _ = paradp(*arguments)
    assert code == 0 and "over a control period" in printed and "episodes of 1" in printed
    steps = pd.read_parquet(tmp_path / "run/steps.parquet")
    events = json.loads((tmp_path / "run/trace.json").read_text())["traceEvents"]
    names = [event["name"] for event in events if event["ph"] == "X"]
    assert names.count("act") == names.count("simulate") == len(steps)
    assert names.count("denoise") == steps["replan_rounds"].notna().sum()
    # Spans of one lane follow each other, as they did in time.
    loop = sorted((e["ts"], e["dur"]) for e in events if e["name"] in ("act", "simulate"))
    assert all(ts + dur <= later + 1 for (ts, dur), (later, _) in itertools.pairwise(loop))
    assert steps["replan_denoise"].max() < steps["replan_seconds"].max() and (steps["simulation"] > 0).all()
    code, _, complaint = paradp(*arguments, "--workers", "2")
    assert code == 2 and "leave out --workers" in complaint
    # Neither the same episodes nor further ones replace the trace.
    code, printed, _ = paradp(*arguments)
    assert code == 0 and "no trace and no recording: these episodes were run before" in printed
    before = (tmp_path / "run/trace.json").read_bytes()
    code, printed, _ = paradp(*rollout_arguments(tmp_path / "run", "--episodes", "2", "--trace"))
    assert code == 0 and "trace-2.json" in printed and (tmp_path / "run/trace-2.json").exists()
    assert (tmp_path / "run/trace.json").read_bytes() == before


def test_a_killed_rollout_keeps_its_episodes_and_resumes(paradp, tmp_path):
    out, whole = tmp_path / "killed", tmp_path / "whole"
    arguments = rollout_arguments(out, "--episodes", "5")
    process = subprocess.Popen([*PARADP, *arguments], stdout=subprocess.DEVNULL)
    wait_for(lambda: len(list(out.glob("episodes/*.json"))) >= 2, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {path: path.read_bytes() for path in out.glob("episodes/*.json")}
    assert 2 <= len(kept) < 5 and not (out / "summary.json").exists()
    assert paradp(*arguments)[0] == 0
    assert all(path.read_bytes() == content for path, content in kept.items())
    assert paradp(*rollout_arguments(whole, "--episodes", "5"))[0] == 0
    assert outcome(out) == outcome(whole)


def test_more_episodes_continue_a_finished_run(paradp, tmp_path):
    assert paradp(*rollout_arguments(tmp_path / "run", "--episodes", "1"))[0] == 0
    first = outcome(tmp_path / "run")
    assert paradp(*rollout_arguments(tmp_path / "run", "--episodes", "3"))[0] == 0
    assert outcome(tmp_path / "run")[:1] == first and Summary.read(tmp_path / "run/summary.json").episodes == 3


def test_episodes_of_a_killed_worker_run_again(tmp_path, paradp):
    out, whole = tmp_path / "run", tmp_path / "whole"
    arguments = rollout_arguments(out, "--episodes", "8", "--workers", "2")
    process = subprocess.Popen([*PARADP, *arguments], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    wait_for(lambda: len(list(out.glob("episodes/*.json"))) >= 2, process)
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    _, complaints = process.communicate()
    assert process.returncode == 0, complaints
    assert paradp(*rollout_arguments(whole, "--episodes", "8", "--workers", "2"))[0] == 0
    assert outcome(out) == outcome(whole) and len(outcome(out)) == 8


@pytest.mark.slow
def test_the_papers_table_is_rerun_for_any_task_with_weights(paradp, tmp_path):
    out, page = tmp_path / "paper", tmp_path / "pages" / "lift.md"
    small = ["--episodes", "1", "--envs", "1", "--max-steps", "9", "--workers", "1"]
    code, printed, complaints = paradp(
        "evaluate", "lift", "--samplers", "paper", *small, "--out", str(out), "--page", str(page)
    )
    assert code == 0, complaints
    assert "Pick " in printed and page.with_suffix(".html").stat().st_size > 10_000
    table = page.read_text().partition("| sampler | model evals |")[2]
    for name in ("ddpm", "para-ddpm", "ddim-15", "para-ddim-15", "dpm-solver-15", "para-dpm-solver-15"):
        assert f"| {name} | " in table
    assert "| ddim-15 | 15 |  | " in table and "The paper has no such task" in table


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--samplers", "ddim-5,dimm-5"], "unknown sampler 'dimm-5' — did you mean"),
        (["--clock", "fixed:soon"], "a latency is a number of milliseconds, not 'soon'"),
        (["--disturbance", "none", "flood"], "unknown disturbance 'flood'"),
        (["--execute", "8", "40"], "execute steps that are not predicted"),
        (["--baseline", "best"], "the baseline 'best' is not a cell; there are: ddim-5"),
        (["--address", "127.0.0.1:1"], "--address is for --backend ray"),
        (["--envs", "0"], "envs must be at least 1"),
    ],
)
def test_an_impossible_evaluation_is_refused_in_a_sentence(paradp, tmp_path, arguments, message):
    out = tmp_path / "out"
    code, _, complaints = paradp("evaluate", "lift", "--samplers", "ddim-5", "--out", str(out), *arguments)
    assert code == 2 and message in " ".join(complaints.split()) and not out.exists()


def test_workers_end_with_their_parent(tmp_path):
    arguments = rollout_arguments(tmp_path / "run", "--episodes", "50", "--workers", "2")
    process = subprocess.Popen([*PARADP, *arguments], stdout=subprocess.DEVNULL)
    wait_for(lambda: len(workers_of(process.pid)) == 2, process)
    workers = workers_of(process.pid)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def workers_of(pid: int) -> list[int]:
    """Child processes that run episodes, without the resource tracker of spawn and short-lived ones."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text():
                found.append(int(child))
    return found


def test_a_killed_collection_continues_where_it_stopped(paradp, tmp_path):
    out, whole = tmp_path / "killed.zarr", tmp_path / "whole.zarr"
    arguments = ["collect", "lift", "--episodes", "16", "--workers", "2"]
    process = subprocess.Popen([*PARADP, *arguments, "--out", str(out)], stdout=subprocess.DEVNULL)
    wait_for(lambda: (out / "zarr.json").exists() and len(Demonstrations.open(out)) >= 2, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 2 <= len(Demonstrations.open(out)) < 16
    assert paradp(*arguments, "--out", str(out))[0] == 0
    assert paradp("collect", "lift", "--episodes", "16", "--workers", "1", "--out", str(whole))[0] == 0
    killed, complete = Demonstrations.open(out), Demonstrations.open(whole)
    assert np.array_equal(killed.seeds, complete.seeds) and np.array_equal(killed.actions(), complete.actions())
    assert np.array_equal(joined(killed.observations()), joined(complete.observations()))


def test_train_makes_a_checkpoint_that_rollout_runs(paradp, tmp_path):
    data, out = tmp_path / "demos.zarr", tmp_path / "train"
    assert paradp("collect", "lift", "--episodes", "3", "--out", str(data))[0] == 0
    arguments = ["--steps", "3", "--batch-size", "8", "--channels", "8", "16", "--out", str(out)]
    assert paradp("train", "lift", "--data", str(data), *arguments)[0] == 0
    assert (out / "loss.png").stat().st_size > 5_000
    card = (out / "checkpoint/README.md").read_text()
    assert "--steps 3" in card and "3 episodes" in card and "of a scripted expert" in card
    assert "Took 0 minutes on" in card and "Not measured yet" in card
    code, printed, _ = paradp("info", "--checkpoint", str(out / "checkpoint"))
    assert code == 0 and "lift: diffusion policy" in printed
    code, _, err = paradp("train", "square", "--data", str(data), "--out", str(tmp_path / "other"))
    assert code == 2 and "demonstrations of 'lift', not of 'square'" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rollout", "lfit"], "unknown task 'lfit' — did you mean 'lift'? There are: square, lift, can, stack"),
        (["rollout", "lift", "--sampler", "para-dpm"], "unknown sampler 'para-dpm' — did you mean 'para-ddpm'?"),
        (["rollout", "lift", "--sampler", "ddpm,para-ddpm:window=0"], "window must be at least 1, not 0"),
        (["rollout", "lift", "--sampler", "ddpm", "--window", "8"], "--window is supported by none of these samplers: ddpm"),
        (["rollout", "lift", "--sampler", "para-ddpm:window=8:window=5"], "para-ddpm is given window twice"),
        (["rollout", "lift", "--sampler", "para-ddpm", "--tolerance", "inf"], "tolerance must be a finite number"),
        (["rollout", "lift", "--checkpoint", "nowhere"], "no checkpoint 'nowhere'"),
        (
            ["rollout", "lift", "--checkpoint", "square"],
            ". This policy is for the task square: give square instead of lift\n",
        ),
        (["rollout", "lift", "--episodes", "0"], "episodes must be at least 1, not 0"),
        (["rollout", "lift", "--device", "abacus"], "device 'abacus' is not available"),
        (["collect", "lfit"], "unknown task 'lfit'"),
        (["train", "lift", "--data", "nowhere.zarr"], "nowhere.zarr holds no demonstrations"),
        (["rollout", "lift", "--sampler", "speculative-ddpm:draft=wild"], "draft must be one of secant, picard, frozen"),
        (["rollout", "lift", "--sampler", "speculative-ddpm:start="], "start must be one of previous, cold"),
        (["rollout", "lift", "--sampler", "ddim-1000"], "1000 steps are too many"),
        (["rollout", "lift", "--window", "8"], "--window is supported by none of these samplers: auto"),
        (["rollout", "lift", "--engine", "cuda-graph"], "the cuda-graph engine computes on cuda, not on cpu"),
        (["bench", "lift", "--engines", "auto", "openvino"], "--engines names one twice: openvino, openvino"),
        (["bench", "lift", "--threads", "0"], "--threads must be at least 1, not 0"),
        (["rollout", "lift", "--device", "cpu:foo"], "device 'cpu:foo' is not available; there is: cpu"),
        (["bench", "lift", "--engines", "cuda-graph"], "the cuda-graph engine computes on cuda, not on cpu"),
        (["study", "engines", "lift", "--runs", "nowhere"], "nowhere holds no finished run of the eager engine in fp32"),
        (["study", "variants", "lift", "--runs", "nowhere"], "nowhere holds no trainings"),
        (["study", "tasks"], "docs/results/experts.json is missing; make it with `paradp study experts"),
        (["info", "--checkpoint", "nowhere"], "no checkpoint 'nowhere'"),
        (["rollout", "stack", "--checkpoint", "lift"], "does not fit the task 'stack': its task is lift"),
        (["collect", "lift", "--observation", "pictures"], "unknown observation 'pictures'. There are: state, image."),
        (["collect", "pusht", "--action-convention", "delta"], "unknown action convention 'delta'. There are: position."),
        (["drive", "lift", "--disturbance", "belt", "--minutes", "-1"], "--minutes must be more than 0, not -1"),
        (["drive", "lift", "--sampler", "para-dpm"], "unknown sampler 'para-dpm' — did you mean 'para-ddpm'?"),
        (["drive", "lift", "--disturbance", "psuh"], "unknown disturbance 'psuh' — did you mean 'push'?"),
        (["drive", "lift", "--sampler", "ddpm,auto"], "--sampler takes one sampler, not 'ddpm,auto'"),
        (["drive", "lift", "--minutes", "0"], "--minutes must be more than 0, not 0"),
        (["drive", "lift", "--checkpoint", "square"], "This policy is for the task square: give square instead of lift\n"),
        (["bench", "lift", "--checkpoint", "square"], "This policy is for the task square: give square instead of lift\n"),
        (
            ["drive", "lift", "--plans", "thread", "--sampler", "ddim-5", "--budget-ms", "-1"],
            "--budget-ms must be more than 0",
        ),
        (["drive", "lift", "--server", "http://127.0.0.1:9"], "http://127.0.0.1:9 is not a policy server"),
        (["serve", "nowhere"], "no checkpoint 'nowhere'"),
        (["serve", "lift", "--port", "70000"], "--port must be at most 65535, not 70000"),
        (["serve", "lift", "--together", "0"], "--together must be at least 1, not 0"),
    ],
)
def test_a_mistake_is_one_sentence_and_an_exit_code(paradp, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = paradp(*arguments)
    assert code == 2 and message in err and len(err.strip().splitlines()) == 1


def test_the_error_for_a_task_without_an_expert_says_what_to_do(paradp, monkeypatch):
    monkeypatch.setitem(TASKS, "pusht-state", TaskEntry(TASKS["pusht-state"].task))
    code, _, err = paradp("collect", "pusht-state")
    assert code == 2 and "the task 'pusht-state' has no expert; see `paradp data import`" in err
    code, _, err = paradp("rollout", "pusht-state")
    assert code == 2 and "comes without weights and without an expert: get demonstrations (`paradp data import FILE" in err
    assert "expert: none" in paradp("tasks", "pusht-state")[1]


def test_a_damaged_checkpoint_is_named(paradp, lift_checkpoint, tmp_path):
    weights = lift_checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    code, _, err = paradp("rollout", "lift", "--checkpoint", str(lift_checkpoint), "--out", str(tmp_path / "run"))
    assert code == 2 and "truncated or replaced" in err
    config = json.loads((lift_checkpoint / "config.json").read_text())
    config["spec"]["network"]["channels"] = [32, 64, 128]
    shutil.copyfile(find_checkpoint("lift") / "model.safetensors", weights)
    config["model_sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    (lift_checkpoint / "config.json").write_text(json.dumps(config))
    code, _, err = paradp("rollout", "lift", "--checkpoint", str(lift_checkpoint), "--out", str(tmp_path / "run"))
    assert code == 2 and "does not fit its config.json" in err and len(err.strip().splitlines()) == 1
    weights.unlink()
    code, _, err = paradp("rollout", "lift", "--checkpoint", str(lift_checkpoint), "--out", str(tmp_path / "run"))
    assert code == 2 and "lacks model.safetensors" in err
    assert not (tmp_path / "run").exists()


def test_the_default_sampler_is_measured_and_named(paradp, tmp_path, monkeypatch):
    monkeypatch.setattr(candidates, "WINDOWS", (5, 6))
    monkeypatch.setattr(autotuner, "TRIALS", 4)
    arguments = ["rollout", "lift", "--videos", "0", "--episodes", "2", "--envs", "2", "--out", str(tmp_path / "run")]
    code, printed, _ = paradp(*arguments)
    said = re.search(r"auto is (ddpm|speculative-ddpm:window=[56]): [\d.]+ ms a plan of 2", " ".join(printed.split()))
    assert code == 0 and said
    sampler = Summary.read(tmp_path / "run/summary.json").sampler
    assert sampler["name"] == "auto" and sampler["settings"]["chosen"] == said[1]
    before = (tmp_path / "run/episodes.parquet").read_bytes()
    # A run goes on with what it was begun with, whatever would be chosen now.
    monkeypatch.setattr(candidates, "WINDOWS", (2,))
    monkeypatch.setenv("PARADP_CACHE", str(tmp_path / "another"))
    code, printed, _ = paradp(*arguments)
    assert code == 0 and f"auto is {said[1]}, as the run in" in " ".join(printed.split())
    assert (tmp_path / "run/episodes.parquet").read_bytes() == before


def test_the_directory_of_another_run_is_not_changed(paradp, tmp_path):
    out = tmp_path / "run"
    assert paradp(*rollout_arguments(out, "--episodes", "1"))[0] == 0
    before = (out / "summary.json").read_bytes()
    code, _, err = paradp(*rollout_arguments(out, "--episodes", "1", "--seed", "9"))
    assert code == 2 and "holds another run (--seed: 0 there, 9 here)" in err
    code, _, err = paradp(*rollout_arguments(out, "--episodes", "1", "--window", "5"))
    assert code == 2 and "(--sampler: para-ddpm:window=20 there, para-ddpm:window=5 here)" in err
    code, _, err = paradp(*rollout_arguments(out, "--episodes", "1"), "--sampler", "ddim-5:spacing=sine")
    there = "para-ddpm:anderson=0:split=unit:tolerance=0.1:window=20"
    assert code == 2 and f"(--sampler: {there} there, ddim-5:spacing=sine here)" in err
    assert paradp(*rollout_arguments(out, "--episodes", "1", "--window", "20"))[0] == 0  # the default, said aloud
    assert (out / "summary.json").read_bytes() == before
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers/thesis.tex").write_text("…")
    code, _, err = paradp(*rollout_arguments(tmp_path / "papers"))
    assert code == 2 and "is not empty and holds no run" in err
    code, _, err = paradp(*rollout_arguments(tmp_path / "papers"), "--sampler", "ddpm,para-ddpm")
    assert code == 2 and "is not empty and holds no runs" in err
    code, _, err = paradp(*rollout_arguments(out), "--sampler", "ddpm,para-ddpm")
    assert code == 2 and "holds a run of one sampler" in err


def test_help_has_examples(paradp):
    for command in ("rollout", "evaluate", "drive", "serve", "bench", "collect", "train", "study", "info", "tasks", "data"):
        code, printed, _ = paradp(command, "--help")
        assert code == 0 and f"paradp {command}" in printed


def test_a_loop_in_real_time_writes_figures_and_a_trace(paradp, tmp_path):
    arguments = ["--minutes", "0.05", "--plans", "thread", "--sampler", "ddim-5", "--seed", "7", "--dead-after", "60"]
    code, printed, err = paradp(
        "drive", "lift", *arguments, "--trace", str(tmp_path / "trace.json"), "--out", str(tmp_path / "out")
    )
    assert code == 0 and "observation to command" in printed, err
    told = json.loads((tmp_path / "out" / "drive.json").read_text())
    assert told["ticks"] > 0 and told["plans"] > 0 and told["unsafe"] == 0
    assert told["milliseconds"]["denoise"]["p50"] > 0 and len(told["safety"]) == told["episodes"] + 1
    assert {event["name"] for event in json.loads((tmp_path / "trace.json").read_text())["traceEvents"]} >= {
        "act",
        "denoise",
    }


def test_tasks_are_listed_and_described(paradp):
    code, printed, _ = paradp("tasks")
    assert code == 0 and all(w in printed for w in ("square", "nut", "absolute: 10", "expert", "weights", "cube_b"))
    code, printed, _ = paradp("tasks", "stack")
    assert code == 0 and all(word in printed for word in ("StackExpert", "cube_b_in_eef_rot6d", "goal_rot6d", "0.75"))
    assert all(word in printed for word in ("agentview_image", "robot0_eye_in_hand_image", "84 × 84 × 3"))
    assert "20 Hz, at most" in printed
    _, printed, _ = paradp("tasks", "kitchen")
    assert "12.5 Hz in the simulator (12 in checkpoints and in real time), at most 280 control steps" in " ".join(
        printed.split()
    )
    code, _, complaint = paradp("tasks", "stak")
    assert code == 2 and "did you mean 'stack'" in complaint


HUMAN = Path(__file__).parents[1] / "data/robosuite_human"


def test_recorded_demonstrations_are_inspected_and_imported(paradp, tmp_path):
    lift, out, plot = HUMAN / "lift_panda.hdf5", tmp_path / "lift.zarr", tmp_path / "actions.png"
    code, printed, _ = paradp("data", "inspect", str(lift), "--plot", str(plot))
    assert code == 0 and "actions look delta" in printed and "412 steps" in printed and plot.stat().st_size > 10_000
    code, printed, err = paradp("data", "import", str(lift), "--out", str(out))
    assert code == 0 and "412 steps of lift" in printed and "1 of them succeed" in printed, err
    assert len(Demonstrations.open(out)) == 1
    code, printed, _ = paradp("data", "inspect", str(out))
    assert code == 0 and "demonstrations of lift, actions absolute" in printed and "cube_in_eef_pos" in printed
    code, _, complaint = paradp("data", "import", str(lift), "--out", str(out))
    assert code == 2 and "exists" in complaint and "Traceback" not in complaint
    (tmp_path / "cut.hdf5").write_bytes(lift.read_bytes()[:5000])
    code, _, complaint = paradp("data", "inspect", str(tmp_path / "cut.hdf5"))
    assert code == 2 and "cut short" in complaint and "Traceback" not in complaint


def test_names_in_foreign_files_cannot_control_the_terminal(paradp, tmp_path, monkeypatch):
    """Sequences that set the window's title, colours, rich's markup and the direction of writing."""
    monkeypatch.chdir(tmp_path)
    with h5py.File("named.hdf5", "w") as file:
        demos = file.create_group("data")
        demos.attrs["env"], demos.attrs["env_info"] = "\x1b]0;owned\x07Lift", "{}"
        demo = demos.create_group("demo_0")
        demo["actions"] = np.random.default_rng(0).random((5, 7))
        demo.create_group("obs")["\x1b[31m[red]\u202e"] = np.zeros((5, 1))
    code, printed, err = paradp("data", "inspect", "named.hdf5")
    assert code == 0 and not err
    assert "?]0;owned?Lift" in printed and "│ obs/?[31m[red]? │" in printed
    code, _, complaint = paradp("data", "inspect", "\x1b[31m[/gone].hdf5")
    assert code == 2 and "there is no file ?[31m[/gone].hdf5" in complaint
    assert not {"\x1b", "\x07", "\u202e"} & {*printed, *complaint}


def test_info_lists_policies_and_samplers(paradp):
    code, printed, _ = paradp("info")
    assert code == 0 and all(word in printed for word in ("square", "lift", "ddpm", "para-ddpm", "torch"))
    code, printed, _ = paradp("info", "samplers")
    assert code == 0 and all(name in printed for name in sampler_names())
    assert "spacing is leading, trailing, linspace" in " ".join(printed.split())
    assert printed.count("eta > 0") == 1
