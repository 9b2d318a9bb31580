"""A grid of runs on the real simulator: the same for any backend, and only continued as itself."""

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from paradp.envs import find_task
from paradp.rollouts import RolloutConfig
from paradp.rollouts.episodes.backends import LocalProcesses, ThisProcess
from paradp.rollouts.episodes.clocks import ClockChoice
from paradp.rollouts.episodes.directory import RunDirectory
from paradp.rollouts.evaluation.comparison import compare
from paradp.rollouts.evaluation.grid import Grid, evaluate
from paradp.rollouts.statistics import PairedLoss
from paradp.sampler import SamplerChoice
from paradp.scripts.evaluation_report import evaluation_report, recommend
from paradp.scripts.lists import PAPER_SAMPLERS
from paradp.scripts.paper_table import HEADER as PAPER_HEADER
from paradp.scripts.paper_table import paper_rows
from paradp.scripts.tables import comparison_table

EPISODES, ENVS = 3, 2


def grid(out: Path, samplers: str = "ddim-10,ddim-5", **axes) -> Grid:
    choices = tuple(SamplerChoice.parse(text) for text in samplers.split(","))
    return Grid(RolloutConfig("lift", choices[0], out, episodes=EPISODES, seed=500, envs=ENVS, threads=1), choices, **axes)


class Nobody:
    """A backend that must not run anything."""

    def run(self, jobs):
        assert not jobs
        yield from ()


def actions(out: Path) -> dict[tuple, list]:
    """Cell, seed and step → the command to the robot."""
    table = pd.read_parquet(out / "steps.parquet")
    return {(c, s, i): list(a) for c, s, i, a in zip(table.cell, table.seed, table.step, table.action, strict=True)}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two samplers under two clocks, run by this process."""
    out = tmp_path_factory.mktemp("evaluation") / "here"
    clocks = (ClockChoice(), ClockChoice.parse("fixed:200"))
    return out, evaluate(grid(out, clocks=clocks), backend=ThisProcess()), clocks


def test_results_do_not_depend_on_the_backend(finished, tmp_path):
    out, _, clocks = finished
    evaluate(grid(tmp_path / "workers", clocks=clocks), backend=LocalProcesses(2))
    assert actions(tmp_path / "workers") == actions(out)


def test_every_cell_has_the_same_seeds_and_is_compared_with_the_first(finished):
    out, comparison, _ = finished
    labels = ["ddim-10, ideal", "ddim-10, fixed:200", "ddim-5, ideal", "ddim-5, fixed:200"]
    assert [run.label for run in comparison.runs] == labels and comparison.baseline == labels[0]
    assert comparison.runs[0].loss is None and all(run.loss.pairs == EPISODES for run in comparison.runs[1:])
    # Another sampler with the baseline under the same clock; the baseline under another clock with itself.
    assert [run.against for run in comparison.runs] == [None, labels[0], labels[0], labels[1]]
    cells = pd.read_parquet(out / "cells.parquet")
    assert cells["cell"].tolist() == labels
    assert {"success_mean", "latency_ms_batch1_replan_p99", "solver_rounds_mean", "loss_upper95", "jerk_mean"} <= {*cells}
    episodes = pd.read_parquet(out / "episodes.parquet")
    assert episodes.groupby("cell")["seed"].apply(list).tolist() == [[500, 501, 502]] * 4


def test_runs_of_versions_that_did_not_measure_the_stages_are_compared(finished, tmp_path):
    out, comparison, _ = finished
    row = "encoding / denoising, 1 environment: p50 ms"
    assert all(run.measurements()[row].count(" / ") == 1 for run in comparison.runs)
    cell = next(path.parent for path in out.glob("cells/*/summary.json"))
    shutil.copytree(cell, tmp_path / "old")
    path = tmp_path / "old/summary.json"
    told = json.loads(path.read_text())
    for latency in (told["latency_ms"], told["latency_ms_batch1"]):
        del latency["encode"], latency["denoise"]
    path.write_text(json.dumps(told))
    [run] = compare({"old": tmp_path / "old"}).runs
    assert run.measurements()[row] == ""
    lacking = comparison.runs[0].row().keys() - run.row().keys()
    assert lacking and all("_encode_" in column or "_denoise_" in column for column in lacking)
    assert run.row()["disturbance"] is None


def test_with_a_clock_that_does_not_stop_the_robot_waits(finished):
    _, comparison, _ = finished
    ideal, late = comparison.runs[:2]
    assert ideal.summary.steps_held == 0 and late.summary.steps_held > 0.15
    planned = late.steps[late.steps["replan_rounds"].notna()]
    assert (planned["replan_lateness"] == 4).all() and (planned.groupby("seed")["step"].diff().dropna() == 12).all()
    for _, steps in late.steps.groupby("seed"):
        assert steps["held"].tolist() == [i % 12 < 4 for i in range(len(steps))]


def test_finished_episodes_are_not_run_again_and_more_can_be_added(finished, tmp_path):
    out, comparison, clocks = finished
    again = evaluate(grid(out, clocks=clocks), backend=Nobody())
    assert again.table().equals(comparison.table())
    first = grid(tmp_path, "ddim-5")
    evaluate(first, backend=ThisProcess())
    kept = actions(tmp_path)
    more = replace(first, base=replace(first.base, episodes=4))
    evaluate(more, backend=ThisProcess())
    grown = actions(tmp_path)
    # Seed 502 ran alone in its group; with 503 beside it only the rounding of the network may change.
    assert {key: grown[key] for key in kept if key[1] < 502} == {key: kept[key] for key in kept if key[1] < 502}
    assert {seed for _, seed, _ in grown} == {500, 501, 502, 503}


def test_the_number_of_episodes_can_only_grow(finished):
    out, _, clocks = finished
    fewer = grid(out, clocks=clocks)
    with pytest.raises(ValueError, match="holds an evaluation of 3 episodes a cell; their number can only grow"):
        evaluate(replace(fewer, base=replace(fewer.base, episodes=2)), backend=Nobody())


def test_a_group_of_which_an_episode_is_missing_is_run_as_a_whole(finished):
    out, _, clocks = finished
    before = actions(out)
    (out / "cells" / "ddim-5_ideal" / "episodes" / "500.json").unlink()
    asked = []

    class Watching(ThisProcess):
        def run(self, jobs):
            asked.extend(job.seeds for job in jobs)
            yield from super().run(jobs)

    evaluate(grid(out, clocks=clocks), backend=Watching())
    assert asked == [range(500, 502)] and actions(out) == before


def test_another_grid_or_version_is_refused(finished):
    out, _, clocks = finished
    with pytest.raises(ValueError, match=r"holds another evaluation \(cells: "):
        evaluate(grid(out), backend=Nobody())
    run = out / "cells" / "ddim-5_ideal" / "run.json"
    identity = json.loads(run.read_text())
    try:
        run.write_text(json.dumps(identity | {"versions": {"torch": "1.0"}}))
        with pytest.raises(ValueError, match=r"holds another run \(versions\.torch: 1\.0 there"):
            evaluate(grid(out, clocks=clocks), backend=Nobody())
    finally:
        run.write_text(json.dumps(identity))


@pytest.mark.parametrize(
    ("samplers", "axes", "message"),
    [
        ("ddim-5,ddim-2000", {}, r"cell 'ddim-2000' is impossible: "),
        ("ddim-5", {"executes": (8, 16)}, r"cell 'ddim-5, execute 16' is impossible: .* not predicted"),
        ("ddim-5", {"disturbances": (None, "flood")}, r"cell 'ddim-5, flood' is impossible: unknown disturbance 'flood'"),
        (
            "ddim-5",
            {"max_steps": (None, 0)},
            r"cell 'ddim-5, 0 steps' is impossible: max_steps must be from 1 to 6000, not 0",
        ),
        ("ddim-5,ddim-5", {}, "cell 'ddim-5' occurs twice"),
    ],
)
def test_an_impossible_cell_is_named_before_anything_runs(tmp_path, samplers, axes, message):
    with pytest.raises(ValueError, match=message):
        evaluate(grid(tmp_path / "out", samplers, **axes), backend=Nobody())
    assert not (tmp_path / "out").exists()


def test_an_unknown_baseline_and_a_full_folder_are_refused(tmp_path):
    with pytest.raises(ValueError, match="the baseline 'ddpm' is not a cell; there are: ddim-10, ddim-5"):
        evaluate(grid(tmp_path), "ddpm", backend=Nobody())
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match="is not empty and holds no evaluation"):
        evaluate(grid(tmp_path), backend=Nobody())


def test_a_full_disk_stops_and_keeps_what_was_finished(tmp_path, monkeypatch):
    add, kept = RunDirectory.add, []

    def full(self, episode):
        if len(kept) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        kept.append(episode.seed)
        add(self, episode)

    monkeypatch.setattr(RunDirectory, "add", full)
    with pytest.raises(OSError, match="No space left"):
        evaluate(grid(tmp_path, "ddim-5"), backend=ThisProcess())
    monkeypatch.undo()
    assert RunDirectory(tmp_path / "cells/ddim-5").seeds() == set(kept)
    told: list[tuple] = []
    again = evaluate(
        grid(tmp_path, "ddim-5"),
        None,
        lambda done: told.append(("cells", done)),
        ThisProcess(),
        lambda done, total: told.append(("alone", done, total)),
    )
    assert again.runs[0].summary.episodes == EPISODES and again.title == "lift: 3 episodes, seeds 500 to 502"
    # What was kept is not done again; a group of two runs as a whole. Then the latency of one robot alone is measured.
    assert told == [("cells", 2), ("cells", 3), *(("alone", done, 3) for done in range(4))]


def test_a_late_cell_is_compared_with_an_early_one_of_the_same_scene(finished, tmp_path):
    out, _, _ = finished
    paths = {"early": out / "cells" / "ddim-10_ideal", "late": out / "cells" / "ddim-10_fixed_200"}
    for label in ("early", "late"):
        pushed = paths[f"{label}, push"] = tmp_path / label
        shutil.copytree(paths[label], pushed)
        summary = json.loads((pushed / "summary.json").read_text())
        (pushed / "summary.json").write_text(json.dumps(summary | {"disturbance": "push"}))
    found = compare(paths, "early")
    assert [run.against for run in found.runs] == [None, "early", "early", "early, push"]


@pytest.mark.parametrize("sampler", [{}, {"name": "ddpm"}, {"name": "ddpm", "settings": []}, "ddpm"])
def test_a_summary_without_its_sampler_is_named(finished, tmp_path, sampler):
    there = json.loads((finished[0] / "cells" / "ddim-10_ideal" / "summary.json").read_text())
    for name in ("sampler", "sampler_batch1"):
        (tmp_path / "summary.json").write_text(json.dumps(there | {name: sampler}))
        with pytest.raises(ValueError, match=rf"summary\.json cannot be read: {name}"):
            compare({"a": tmp_path})


def test_the_report_holds_everything_in_one_file(finished, tmp_path):
    _, comparison, _ = finished
    page = tmp_path / "pages" / "lift.md"
    as_html = evaluation_report(comparison, "absolute").write(page).read_text()
    text = page.read_text()
    assert recommend(comparison) in text and as_html.count("data:image/png;base64,") == as_html.count("<img") >= 6
    assert "http" not in as_html.replace("http-equiv", "")
    for i, run in enumerate(comparison.runs, 1):
        assert f"| {i}. {run.label} | {run.summary.success.mean:.3f} (" in text and f"<td>{i}. {run.label}</td>" in as_html
    for picture in page.parent.glob("*.png"):
        assert picture.stat().st_size > 10_000


def test_the_columns_of_a_table_have_different_names(finished):
    _, comparison, _ = finished
    report = evaluation_report(comparison, "absolute", strips=False)
    tables = [report.main, *report.details]
    assert report.main.header[:3] == ["cell", "success (95 %)", "lost at most"] and len(report.main.header) <= 7
    for table in tables:
        assert len({*table.header}) == len(table.header) and "more" not in table.header
        assert all(len(row) == len(table.header) for row in table.rows)
    moved = next(table for table in tables if "steps: difference" in table.header)
    assert "jerk: difference" in moved.header and "waiting" in moved.header and "disturbed" not in moved.header
    assert len({*PAPER_HEADER}) == len(PAPER_HEADER)


def test_figures_that_the_paper_does_not_give_are_empty(finished):
    _, comparison, _ = finished
    run = next(run for run in comparison.runs if run.summary.clock == "ideal")
    run = replace(run, summary=replace(run.summary, task="kitchen"))
    rows = paper_rows(replace(comparison, runs=[replace(run, label=name) for name in PAPER_SAMPLERS]))
    published = {row[0]: row[PAPER_HEADER.index("paper: evals, iters") :] for row in rows}
    assert published["para-ddpm"] == ["390, 25", "0.84", "33.30 s", "3.4×"]
    assert published["ddim-15"] == ["", "", "", ""] and published["para-ddim-15"] == ["–, 7", "", "", ""]


def test_a_report_begins_with_its_findings(finished, tmp_path):
    _, comparison, _ = finished
    evaluation_report(comparison, "absolute", strips=False).write(tmp_path / "page.md")
    for text in ((tmp_path / "page.md").read_text(), (tmp_path / "page.html").read_text()):
        order = [text.index(what) for what in (recommend(comparison), "success against latency", "plan p99 (ms)", "jitter")]
        assert order == sorted(order)


def test_tables_fit_eighty_columns(finished):
    _, comparison, _ = finished
    labels = ["para-ddpm:split=linear:tolerance=0.1:window=10, fixed:200, ahead-inpaint, push", "ddpm", "ddim-5", "b"]
    runs = [replace(run, label=label) for run, label in zip(comparison.runs, labels, strict=True)]
    console = Console(width=80, record=True)
    console.print(comparison_table(replace(comparison, runs=runs)))
    lines = console.export_text().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80 and not any("…" in line for line in lines)
    # Nothing of a name is lost where it is broken.
    folded = "".join(line[:25].strip() for line in lines)
    assert labels[0].replace(" ", "") in folded.replace(" ", "")


def test_the_fastest_sampler_that_surely_loses_little_is_recommended(finished):
    _, comparison, _ = finished
    slow, _, fast, _ = comparison.runs

    def with_latency(run, ms: float, lost: int = 0, won: int = 0):
        latency = replace(run.summary.latency_ms_batch1, replan=replace(run.summary.latency_ms_batch1.replan, p50=ms))
        loss = run.loss and PairedLoss(200, lost, won)
        return replace(run, summary=replace(run.summary, latency_ms_batch1=latency), loss=loss)

    def recommended(lost: int, ms: float = 5.0, others=()) -> str:
        return recommend(replace(comparison, runs=[with_latency(slow, 10.0), with_latency(fast, ms, lost), *others]))

    # Of 200 pairs, 4 lost are surely less than 0.05, and 6 are not.
    assert PairedLoss(200, 4, 0).upper95 < 0.05 < PairedLoss(200, 6, 0).upper95
    assert recommended(4).startswith("Pick ddim-5, ideal: the fastest (5.0 ms a plan for one robot, 2.0 times as fast")
    for said in (recommended(6), recommended(4, ms=11.0)):
        assert said.startswith("Pick ddim-10, ideal: over 3 episodes") and "no faster sampler has been shown" in said
    # Of what is as fast, that which loses least.
    won = replace(comparison, runs=[with_latency(slow, 10.0), with_latency(fast, 10.0, won=4)])
    assert recommend(won).startswith(
        "Pick ddim-5, ideal: the fastest (10.0 ms a plan for one robot, as fast as ddim-10, ideal)"
    )
    assert recommended(1, ms=10.0).startswith("Pick ddim-10, ideal")
    # Under another clock the fastest is not a choice.
    late = with_latency(comparison.runs[1], 1.0)
    assert recommended(4, others=[late]).startswith("Pick ddim-5, ideal")
    assert recommend(replace(comparison, runs=[with_latency(slow, 10.0), late])) == ""
    # With ten more to choose from, 4 lost are not sure enough.
    crowd = [replace(with_latency(fast, 20.0, 9), label=str(i)) for i in range(10)]
    assert recommended(4, others=crowd).startswith("Pick ddim-10, ideal: over 3 episodes")


def test_an_episode_is_the_same_when_it_is_rendered_again(finished):
    """A strip is rendered from the stored actions, which must lead to the same success at the same step."""
    from paradp.rollouts.episodes.environments import EnvironmentConfig

    _, comparison, _ = finished
    run = comparison.runs[1]
    env = EnvironmentConfig("lift").make()
    for seed, steps in run.steps.groupby("seed"):
        env.reset(seed=int(seed))
        told = [env.step(np.array(action, np.float32))[4]["success"] for action in steps["action"]]
        assert told == steps["success"].tolist()
    env.close()


def test_step_limits_default_to_the_tasks(tmp_path):
    cell = grid(tmp_path, "ddim-5", max_steps=(6,))
    [run] = evaluate(cell, backend=ThisProcess()).runs
    assert (run.episodes["steps"] == 6).all() and run.summary.max_steps == 6
    assert find_task("lift").task.max_steps == 400


def test_a_measured_clock_needs_a_robot_by_itself(tmp_path):
    with pytest.raises(ValueError, match="needs 1 environment at a time"):
        replace(grid(tmp_path).base, clock=ClockChoice.parse("measured"))
    cell = grid(tmp_path, "ddim-5", clocks=(ClockChoice.parse("measured"),)).cells()["ddim-5"]
    assert cell.envs == 1 and cell.groups == [range(500, 501), range(501, 502), range(502, 503)]


def test_all_axes_of_a_grid_work_together(tmp_path):
    """Disturbed objects, plans requested ahead or not, another horizon, a measured and a replayed clock."""
    latencies = tmp_path / "latencies.txt"
    latencies.write_text("60\n110\n")
    clocks = (ClockChoice.parse("measured"), ClockChoice.parse(f"replay:{latencies}"))
    axes = {"controllers": ("sync", "ahead"), "disturbances": ("push",), "executes": (12,), "max_steps": (40,)}
    comparison = evaluate(grid(tmp_path / "out", "ddim-5", clocks=clocks, **axes), backend=ThisProcess())
    held = {}
    for run in comparison.runs:
        summary = run.summary
        assert (summary.execute, summary.disturbance, summary.max_steps) == (12, "push", 40)
        planned = run.steps[run.steps["replan_rounds"].notna()]
        if summary.clock == "measured":
            assert summary.envs == 1
            late = (planned["replan_seconds"] * 20 + 1e-9).astype(int)
            assert (planned["replan_lateness"] == late).all()
        else:
            assert set(planned["replan_lateness"]) == {1, 2}
            held[summary.controller] = summary.steps_held
    assert held["ahead"] < held["sync"]
    assert (tmp_path / "out" / "alone" / "ddim-5_execute_12").is_dir()
