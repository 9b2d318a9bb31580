"""The page that compares all tasks is made from real evaluations of the shipped weights."""

import json
import shutil

import pytest

from paradp.checkpoints import find_checkpoint
from paradp.checkpoints.cards import read_trainings
from paradp.policy.engines.autotune import candidates
from paradp.rollouts import RolloutConfig
from paradp.rollouts.evaluation.grid import Grid, cell_folder, evaluate
from paradp.rollouts.statistics import Estimate
from paradp.sampler import SamplerChoice
from paradp.scripts.studies import task_figures, tasks
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.experts import FIGURES, ExpertFigures, Performance
from paradp.scripts.studies.shipped_runs import evaluated_tasks

pytestmark = pytest.mark.slow


@pytest.fixture
def context(tmp_path):
    """Two episodes of Lift with every sampler, figures of an expert, and a copy of the shipped policy."""
    folder = tmp_path / "runs/lift"
    choices = tuple(SamplerChoice.parse(name) for name in task_figures.SAMPLERS)
    evaluate(Grid(RolloutConfig("lift", choices[0], folder, episodes=2, seed=7, envs=2, threads=1), choices))
    performance = Performance(Estimate(0.98, (0.9, 1.0)), (37.0, 31, 208))
    figures = {"lift": ExpertFigures(performance, performance, 2.4, 37.0, "cm")}
    shutil.copytree(find_checkpoint("lift"), tmp_path / "runs/trainings/again/checkpoint")
    (tmp_path / "experts.json").write_bytes(FIGURES.dump_json(figures))
    return Context("square", tmp_path, tmp_path / "runs")


def test_the_page_contains_every_evaluated_task_and_no_other_weights(context, monkeypatch):
    monkeypatch.setattr(task_figures, "REPEATS", 2)
    monkeypatch.setattr(task_figures, "EPISODES", 4)
    monkeypatch.setattr(task_figures, "PLANS", 4)
    monkeypatch.setattr(task_figures, "WINDOWS", (4, 100))
    monkeypatch.setattr(candidates, "WINDOWS", (5, 6))
    tasks.study_tasks(context)
    page = (context.out / "tasks.md").read_text()
    steps = read_trainings(find_checkpoint("lift"))[0].steps
    assert "| lift | 0.98 (0.90–1.00) |" in page and f"{steps} steps of batch 256" in page
    assert all(f"| lift | `{sampler}` |" in page for sampler in task_figures.SAMPLERS)
    assert (context.out / "tasks.png").stat().st_size > 10_000
    shipped, again = page[page.index("| task | training | rejections") :].splitlines()[2:4]
    assert shipped == again
    rejections, at_four, at_hundred = (float(cell.split()[0]) for cell in shipped.split(" | ")[2:5])
    # Four steps a round at most; and with a window as wide as the trajectory every round but the last is a rejection.
    assert at_four >= 25 > at_hundred == pytest.approx(rejections + 1, abs=0.11) and rejections > 0
    measured = json.loads((cell_folder(context.runs / "lift", task_figures.EXACT) / "summary.json").read_text())
    assert "25 rounds and 390 evaluations on kitchen" in page
    para_rounds, para_evaluations = (float(cell.split()[0]) for cell in shipped.split(" | ")[5:7])
    assert 5 < para_rounds < 40 and 100 < para_evaluations < 1000
    assert f"lift {measured['solver']['rounds_mean']:.1f} rounds" in page

    summary = cell_folder(context.runs / "lift", task_figures.EXACT) / "summary.json"
    told = json.loads(summary.read_text())
    summary.write_text(json.dumps(told | {"checkpoint": told["checkpoint"] | {"sha256": "0" * 64}}))
    with pytest.raises(ValueError, match="evaluated other weights than those shipped for lift"):
        tasks.study_tasks(context)
    summary.write_text(json.dumps(told | {"clock": "fixed:50"}))
    with pytest.raises(ValueError, match="is disturbed, or is of another clock or controller"):
        tasks.study_tasks(context)
    summary.write_text(json.dumps(told | {"seed": 8}))
    with pytest.raises(ValueError, match="the runs of lift begin with different episodes"):
        tasks.study_tasks(context)

    # The run kept beside the page takes the place of one that is gone.
    summary.unlink()
    (kept,) = (run for run in task_figures.read_evaluation(context, "lift").runs if run.label == task_figures.EXACT)
    assert kept.path == context.out / "episodes/lift" / summary.parent.name and len(kept.episodes) == 2
    assert sorted(path.name for path in kept.path.iterdir()) == ["episodes.parquet", "summary.json"]
    shutil.rmtree(kept.path)
    with pytest.raises(ValueError, match="has no finished episodes of speculative-ddpm:window=8"):
        tasks.study_tasks(context)
    shutil.rmtree(context.runs / "lift")
    assert evaluated_tasks(context, "paper", kept=True) == ["lift"]
    with pytest.raises(ValueError, match="holds no evaluation of a task"):
        evaluated_tasks(context, "paper", kept=False)
