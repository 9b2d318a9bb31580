"""Pictures label what they show, end where their scale ends, and say it once."""

import itertools
import pathlib
import shutil

import matplotlib
import numpy as np
import pytest
from matplotlib.path import Path
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox
from PIL import Image

from paradp.rollouts.episodes.captions import BACKGROUND
from paradp.rollouts.episodes.strips import HEADLINE, HEIGHT
from paradp.rollouts.statistics import Estimate, wilson
from paradp.scripts.action_plot import plot_actions
from paradp.scripts.bench_plot import plot_bench
from paradp.scripts.contenders import BenchRow
from paradp.scripts.dimensions import dimension_names
from paradp.scripts.families import family_of, wrapped
from paradp.scripts.figures import Late, periods, plot_late
from paradp.scripts.studies.published import Page, estimate
from paradp.scripts.studies.published_runs import measured_runs
from paradp.scripts.studies.redraw import redraw
from paradp.scripts.trade_off import TradeOffPoint, pareto_front, plot_trade_off

LONG = "para-ddpm:split=linear:tolerance=0.1:window=10"
NAMES = ("ddpm", "ddim-5", "ddim-10", "para-ddpm", LONG, "speculative-ddpm:window=8", "auto", "dpm-solver-15")


def measured(label: str, successes: int, ms: float, reward: float | None = None, world: str = "") -> TradeOffPoint:
    graded = {} if reward is None else {"reward": Estimate(reward, (reward - 0.02, reward + 0.01))}
    return TradeOffPoint(label, graded | {"success": wilson(successes, 200)}, ms, 1.3 * ms, 1.6 * ms, world)


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def joined(text: str) -> str:
    """Joins the lines of a wrapped name."""
    return text.replace(":\n", ":").replace("\n", " ")


@pytest.mark.parametrize("count", [1, 8, 40])
def test_every_run_is_labelled_and_rates_end_at_one(tmp_path, count):
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


def test_labels_cover_neither_each_other_nor_a_point(tmp_path):
    runs = [measured(name, 180 + i, 12 + 9 * i) for i, name in enumerate(NAMES)]
    figure = plot_trade_off(runs, "square", periods("square", 8), tmp_path / "picture.png")
    check_names(figure.axes[0], runs, "success")


def check_names(axes, runs, measure: str) -> None:
    """Every point has a label; labels cover nothing; lines from points to labels cross neither each other nor a label."""
    names = [text for text in axes.texts if isinstance(text, Annotation) and text.anncoords == "figure pixels"]
    known = {run.label for run in runs} | {str(i + 1) for i in range(len(runs))}
    assert len(names) == len(runs) and {joined(name.get_text()) for name in names} <= known
    boxes = [Text.get_window_extent(text) for text in axes.texts]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    points = [axes.transData.transform((run.p50, run.worth[measure].mean)) for run in runs]
    half = 3.5 * axes.figure.dpi / 72  # of a marker
    assert not any(
        box.overlaps(Bbox.from_bounds(x - half, y - half, 2 * half, 2 * half)) for box in boxes for x, y in points
    )
    lines = {name: Path(name.arrow_patch.get_path().vertices[[0, -1]]) for name in names if name.arrow_patch is not None}
    for (a, line), (b, other) in itertools.combinations(lines.items(), 2):
        assert not line.intersects_path(other, filled=False), f"the lines to {a.get_text()} and {b.get_text()} cross"
    covering = ((a, b) for a, b in itertools.permutations(names, 2) if a in lines)
    for a, b in covering:
        assert not lines[a].intersects_bbox(Text.get_window_extent(b)), f"{b.get_text()} lies on {a.get_text()}'s line"


RESULTS = pathlib.Path(__file__).parents[2] / "docs" / "results"
TRADE_OFFS = [p for p in sorted(RESULTS.glob("*.md")) if "| plan p95 |" in p.read_text() and p.with_suffix(".png").exists()]


@pytest.fixture(scope="module")
def redrawn(tmp_path_factory):
    """All pictures that can be drawn from the published pages: picture → figure."""
    out = tmp_path_factory.mktemp("redrawn") / "results"
    shutil.copytree(RESULTS, out, ignore=shutil.ignore_patterns("*-strips"))
    return {path.relative_to(out): figure for page in sorted(out.glob("**/*.md")) for path, figure in redraw(page)}


@pytest.mark.parametrize("page", TRADE_OFFS, ids=lambda page: page.stem)
def test_labels_in_published_pictures_do_not_cross(redrawn, page):
    runs, figure = measured_runs(Page(page)), redrawn[pathlib.Path(page.name).with_suffix(".png")]
    for axes, measure in zip(figure.axes, runs[0].worth, strict=False):
        check_names(axes, runs, measure)


def test_every_task_has_a_published_picture():
    assert {f"{task}-reward-vs-latency" for task in ("square", "lift", "can", "stack", "pusht")} <= {
        p.stem for p in TRADE_OFFS
    }


def test_pictures_are_legible_where_a_page_is_1000_pixels_wide(redrawn):
    assert len(redrawn) >= 20
    for path, figure in redrawn.items():
        width, height = Image.open(RESULTS / path).size
        assert (width, height) == tuple(figure.canvas.get_width_height()), f"{path} is not as the program draws it"
        letters = [
            text.get_fontsize() * 1000 / 72 / max(figure.get_figwidth(), 10)
            for text in figure.findobj(Text)
            if text.get_text()
        ]
        assert min(letters) >= 11, path


def test_pictures_explain_themselves(redrawn):
    """Legends, names of axes, and rates that end at 1."""
    for path, figure in redrawn.items():
        assert figure.legends or all(axes.get_legend() for axes in figure.axes), f"{path} has no legend"
        for axes in figure.axes:
            below = [other for other in figure.axes if other.get_position().x0 == axes.get_position().x0]
            ticks = [tick.get_text() for tick in axes.get_xticklabels()]
            named = any(other.get_xlabel() for other in below) or not all(map(is_number, ticks))
            assert named, f"{path}: an axis has numbers and no name"
            for name, (_, end) in ((axes.get_xlabel(), axes.get_xlim()), (axes.get_ylabel(), axes.get_ylim())):
                assert end == 1.0 or not name.startswith(("success", "share")), f"{path}: {name} goes on beyond 1"


@pytest.mark.parametrize("folder", sorted(RESULTS.glob("*-strips")), ids=lambda folder: folder.name)
def test_published_strips_have_a_headline(folder):
    for path in folder.iterdir():
        strip = np.asarray(Image.open(path).convert("RGB"))
        assert strip.shape[0] >= HEIGHT + HEADLINE, path
        line = strip[:HEADLINE]
        assert (line[0] == BACKGROUND).all() and (line > 200).all(-1).sum() > 100, path  # with letters on it


def is_number(text: str) -> bool:
    return text.lstrip("−").replace(".", "").isdigit()


def test_the_front_consists_of_samplers_that_no_other_beats():
    slow, worse, fast, best = (
        measured(*run) for run in (("ddpm", 190, 90), ("ddim-15", 170, 16), ("ddim-5", 175, 9), ("a", 195, 50))
    )
    assert pareto_front([slow, worse, fast, best], "success") == [fast, best]
    # A tie in success is won by the faster; under another disturbance nothing is compared.
    pushed = measured("ddpm, push", 100, 95, world="push")
    assert pareto_front([measured("ddim-10", 195, 60), best, pushed], "success") == [best, pushed]


def test_a_graded_reward_has_its_own_panel(tmp_path):
    runs = [measured("ddpm", 168, 165, 0.98), measured("ddim-15", 167, 39, 0.974)]
    figure = plot_trade_off(runs, "pusht", periods("pusht", 8), tmp_path / "picture.png")
    assert [axes.get_ylabel() for axes in figure.axes[:2]] == ["reward, 95 % interval", "success, 95 % interval"]
    assert [axes.get_ylim()[1] for axes in figure.axes[:2]] == [1.0, 1.0]
    beyond = plot_trade_off([measured("ddpm", 168, 165, 7.5)], "mine", [], tmp_path / "picture.png")
    assert beyond.axes[0].get_ylim()[1] > 7.5


def test_the_picture_shows_the_control_periods():
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


def test_the_picture_of_a_bench_has_a_row_for_every_sampler_and_engine(tmp_path):
    def row(name: str, engine: str, batch: int, ms: float, law: str) -> BenchRow:
        times = (ms, 1.2 * ms, 1.5 * ms)
        return BenchRow(name, name, engine, "fp32", 2, batch, 4_627_658, *times, 10, 10, 0.9, 1.0, 8, law, None)

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


def test_long_names_are_wrapped():
    assert wrapped(LONG, 24) == "para-ddpm:split=linear:\ntolerance=0.1:window=10"
    assert wrapped("ddpm, fixed:200, push", 24) == "ddpm, fixed:200, push"
    assert wrapped("speculative-ddpm:window=8, fixed:200", 26) == "speculative-ddpm:window=8,\nfixed:200"


def test_tables_of_pages_are_read_back(tmp_path):
    assert estimate("0.950 (0.910–0.973)") == Estimate(0.95, (0.91, 0.973))
    assert estimate("-0.085 (-0.145–-0.030)") == Estimate(-0.085, (-0.145, -0.03))
    assert estimate("+0.0003 (-0.0026 to 0.0037)") == Estimate(0.0003, (-0.0026, 0.0037))
    assert estimate("1.17 × (1.01–1.35)") == Estimate(1.17, (1.01, 1.35))
    with pytest.raises(ValueError, match="'baseline' is not a value with its interval"):
        estimate("baseline")
    path = tmp_path / "page.md"
    path.write_text("# x: 20 episodes\n\n|  | `a` |\n| --- | --- |\n| `b` | 1 |\n\ntext\n\n| c |\n| --- |\n| 2 |\n")
    page = Page(path)
    assert page.tables == [[{"0": "b", "a": "1"}], [{"c": "2"}]]
    assert page.table("`a`") == page.tables[0] and page.number(r"(\d+) episodes") == 20
    with pytest.raises(ValueError, match=r"page\.md has no table with the columns a, c"):
        page.table("a", "c")
    with pytest.raises(ValueError, match=r"page\.md does not contain"):
        page.number(r"(\d+) plans")


@pytest.mark.parametrize(
    ("label", "like"),
    [("ddpm", "ddpm"), ("ddpm-25", "ddim-5"), ("sde-dpm-solver-20", "ddim-5"), ("speculative-ddpm-25", "speculative-ddpm")],
)
def test_samplers_of_few_steps_have_the_same_colour(label, like):
    assert family_of(label) == family_of(like)
    assert family_of("ddpm-25") != family_of("ddpm")
