"""Pictures name what they show, end where their scale ends, and say it once."""

import itertools

import matplotlib
import numpy as np
import pytest
from matplotlib.transforms import Bbox

from paradp.rollouts.statistics import Estimate, wilson
from paradp.scripts.action_plot import dimension_names, plot_actions
from paradp.scripts.bench_plot import plot_bench
from paradp.scripts.families import family_of, wrapped
from paradp.scripts.figures import Late, periods, plot_late
from paradp.scripts.planning_time import BenchRow
from paradp.scripts.trade_off import Measured, pareto_front, plot_trade_off

LONG = "para-ddpm:split=linear:tolerance=0.1:window=10"
NAMES = ("ddpm", "ddim-5", "ddim-10", "para-ddpm", LONG, "speculative-ddpm:window=8", "auto", "dpm-solver-15")


def measured(label: str, successes: int, ms: float, reward: float | None = None, world: str = "") -> Measured:
    graded = {} if reward is None else {"reward": Estimate(reward, (reward - 0.02, reward + 0.01))}
    return Measured(label, graded | {"success": wilson(successes, 200)}, ms, 1.3 * ms, 1.6 * ms, world)


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def joined(text: str) -> str:
    """A wrapped name in one line."""
    return text.replace(":\n", ":").replace("\n", " ")


@pytest.mark.parametrize("count", [1, 8, 40])
def test_every_run_is_named_and_rates_end_at_one(tmp_path, count):
    labels = [NAMES[i % 8] + f", fixed:{20 * (i // 8)}, push" * (i >= 8) for i in range(count)]
    rng = np.random.default_rng(0)
    runs = [measured(label, int(rng.integers(150, 201)), float(np.exp(rng.uniform(2, 5)))) for label in labels]
    figure = plot_trade_off(runs, "square", periods("square", 8), tmp_path / "picture.png")
    worth, latency = figure.axes
    rows = [joined(tick.get_text()) for tick in latency.get_yticklabels()]
    by_latency = sorted(range(count), key=lambda i: runs[i].p50)
    assert rows == [f"{i + 1}. {labels[i]}" for i in by_latency]  # fastest first, numbered as in the report
    assert worth.get_ylim()[1] == 1.0 and worth.get_ylim()[0] <= min(run.worth["success"].ci95[0] for run in runs)
    named = [joined(text) for text in texts(worth)]
    for run in pareto_front(runs, "success") if count > 8 else runs:
        assert run.label in named or str(labels.index(run.label) + 1) in named
    assert len(named) == count + 2  # two periods
    families = [text.get_text() for text in figure.legends[0].get_texts()]
    assert families == [
        *dict.fromkeys(f for f in FAMILY_ORDER if any(run.family.name == f for run in runs)),
        "Pareto front (filled)",
    ]
    assert (tmp_path / "picture.png").stat().st_size > 20_000


FAMILY_ORDER = [family_of(name).name for name in ("ddpm", "ddim-5", "para-ddpm", "speculative-ddpm", "auto")]


def test_names_cover_neither_each_other_nor_a_point(tmp_path):
    runs = [measured(name, 180 + i, 12 + 9 * i) for i, name in enumerate(NAMES)]
    figure = plot_trade_off(runs, "square", periods("square", 8), tmp_path / "picture.png")
    axes = figure.axes[0]
    names = [text for text in axes.texts if joined(text.get_text()) in NAMES]
    assert len(names) == len(NAMES)
    boxes = [matplotlib.text.Text.get_window_extent(text) for text in names]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    points = [axes.transData.transform((run.p50, run.worth["success"].mean)) for run in runs]
    assert not any(box.overlaps(Bbox.from_bounds(x - 2, y - 2, 4, 4)) for box in boxes for x, y in points)


def test_the_front_is_what_nothing_beats():
    slow, worse, fast, best = (
        measured(*run) for run in (("ddpm", 190, 90), ("ddim-15", 170, 16), ("ddim-5", 175, 9), ("a", 195, 50))
    )
    assert pareto_front([slow, worse, fast, best], "success") == [fast, best]
    # A tie in success is won by the faster; under another disturbance nothing is compared.
    pushed = measured("ddpm, push", 100, 95, world="push")
    assert pareto_front([measured("ddim-10", 195, 60), best, pushed], "success") == [best, pushed]


def test_a_graded_reward_has_a_panel_of_its_own(tmp_path):
    runs = [measured("ddpm", 168, 165, 0.98), measured("ddim-15", 167, 39, 0.974)]
    figure = plot_trade_off(runs, "pusht", periods("pusht", 8), tmp_path / "picture.png")
    assert [axes.get_ylabel() for axes in figure.axes[:2]] == ["reward, 95 % interval", "success, 95 % interval"]
    assert [axes.get_ylim()[1] for axes in figure.axes[:2]] == [1.0, 1.0]
    beyond = plot_trade_off([measured("ddpm", 168, 165, 7.5)], "mine", [], tmp_path / "picture.png")
    assert beyond.axes[0].get_ylim()[1] > 7.5


def test_a_plan_has_periods_to_fit_into():
    assert [(period.name, period.ms) for period in periods("square", 8)] == [
        ("control step, 50 ms", 50.0),
        ("chunk, 400 ms: a plan must fit", 400.0),
    ]
    assert [period.ms for period in periods("pusht", None)] == [100.0]


def test_success_against_the_clock_ends_at_one(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(matplotlib.pyplot, "close", shown.append)
    points = [Late("ddpm", ms, world, wilson(19, 20)) for ms in (0.0, 200.0) for world in ("undisturbed", "push")]
    plot_late(points, "square", tmp_path / "clocks.png")
    monkeypatch.undo()
    [figure] = shown
    assert [axes.get_title() for axes in figure.axes] == ["square, undisturbed", "square, push"]
    assert all(axes.get_ylim() == (0.0, 1.0) for axes in figure.axes)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ddpm"]


def test_a_bench_has_a_row_for_every_sampler_and_engine(tmp_path):
    def row(name: str, engine: str, batch: int, ms: float, law: str) -> BenchRow:
        return BenchRow(name, name, engine, "fp32", 2, batch, ms, 1.2 * ms, 1.5 * ms, 10, 10, 0.9, 1.0, 8, law, None)

    kinds = (("ddpm", "eager", 500, "exact"), ("ddim-10", "eager", 50, "other"), ("ddpm", "openvino", 100, "exact"))
    rows = [row(name, engine, batch, batch * ms, law) for batch in (1, 4) for name, engine, ms, law in kinds]
    figure = plot_bench(rows, tmp_path / "cpu.png")
    one, four = figure.axes
    assert [tick.get_text() for tick in one.get_yticklabels()] == ["ddim-10", "ddpm", "ddpm"]
    assert {"50", "500", "100", "eager, fp32", "openvino, fp32"} == {*texts(one)}
    assert {"200", "2000", "400"} < {*texts(four)}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "DDPM's distribution, exactly",
        "another sampler's",
    ]


def test_actions_are_named_with_their_units(tmp_path):
    assert dimension_names({"goal_pos": 3, "gripper": 1, "torque": 7})[:5] == [
        "goal_pos x\n(m)",
        "goal_pos y\n(m)",
        "goal_pos z\n(m)",
        "gripper\n(−1 open, 1 closed)",
        "torque 0",
    ]
    figure = plot_actions([np.zeros((9, 2))], "pusht", tmp_path / "a.png", {"goal_xy": 2}, 10)
    assert [axes.get_ylabel() for axes in figure.axes] == ["goal_xy x\n(px)", "goal_xy y\n(px)"]
    assert figure.axes[0].get_xlabel() == "control step (10 a second)"
    unknown = plot_actions([np.zeros((9, 3))], "mine", tmp_path / "b.png", {"goal_xy": 2})
    assert [axes.get_ylabel() for axes in unknown.axes[:3]] == ["action 0", "action 2", "action 1"]


def test_long_names_are_broken_where_they_can_be():
    assert wrapped(LONG, 24) == "para-ddpm:split=linear:\ntolerance=0.1:window=10"
    assert wrapped("ddpm, fixed:200, push", 24) == "ddpm, fixed:200, push"
    assert wrapped("speculative-ddpm:window=8, fixed:200", 26) == "speculative-ddpm:window=8,\nfixed:200"


@pytest.mark.parametrize(
    ("label", "like"),
    [("ddpm", "ddpm"), ("ddpm-25", "ddim-5"), ("sde-dpm-solver-20", "ddim-5"), ("speculative-ddpm-25", "speculative-ddpm")],
)
def test_samplers_of_few_steps_look_alike(label, like):
    assert family_of(label) == family_of(like)
    assert family_of("ddpm-25") != family_of("ddpm")
