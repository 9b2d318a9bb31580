"""Redraws the pictures in docs/results from the published pages and JSON files, without measuring."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure

from paradp.rollouts.statistics import Estimate
from paradp.scripts.bench_plot import plot_bench
from paradp.scripts.console import say
from paradp.scripts.contenders import BenchRow
from paradp.scripts.figures import periods, plot_late
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.published import Page
from paradp.scripts.studies.published_runs import EXECUTE, HEADING, late_runs, measured_runs, title_and_periods
from paradp.scripts.studies.registry import drawings_of, study
from paradp.scripts.trade_off import TradeOffPoint, plot_trade_off


@study
def study_redraw(context: Context) -> None:
    """Redraws the pictures in OUT whose data are in its pages and JSON files; leaves all others unchanged."""
    for page in sorted(context.out.glob("**/*.md")):
        for path, _ in redraw(page):
            say(str(path))


def redraw(page: Path) -> Iterator[tuple[Path, Figure]]:
    """Draws the pictures of one page; yields the path and the closed figure of each."""
    picture, drawings = page.with_suffix(".png"), drawings_of(page)
    if drawings:
        for drawing in drawings:
            yield drawing.path(page), drawing.draw(page)
    elif page.stem == "comparison":
        yield picture, _redraw_comparison(page, picture)
    elif page.with_suffix(".json").exists() and picture.exists():
        rows = [BenchRow(**row) for row in json.loads(page.with_suffix(".json").read_text())]
        yield picture, plot_bench(rows, picture)
    else:
        yield from _redraw_evaluation(page, picture)


def _redraw_evaluation(page: Path, picture: Path) -> Iterator[tuple[Path, Figure]]:
    found, clocks = Page(page), page.with_name(f"{page.stem}-clocks.png")
    if not re.match(HEADING, found.text):
        return
    title, periods = title_and_periods(found)
    if picture.exists():
        yield picture, plot_trade_off(measured_runs(found), title, periods, picture)
    if clocks.exists():
        yield clocks, plot_late(late_runs(found), title.split(",")[0], clocks)


def _redraw_comparison(page: Path, picture: Path) -> Figure:
    """Draws the comparison of `paradp rollout` from the summaries beside the page."""
    names = list(Page(page).tables[0][0])[1:]
    files = [path for name in names if (path := page.parent / f"{name}.json").exists()]
    summaries = [json.loads(path.read_text()) for path in files]
    runs = [_measured(summary) for summary in summaries]
    first = summaries[0]
    title = f"{first['task']}, {first['episodes']} episodes each"
    return plot_trade_off(runs, title, periods(first["task"], EXECUTE), picture)


def _measured(summary: dict) -> TradeOffPoint:
    latency, success = summary["latency_ms_batch1"]["replan"], summary["success"]
    worth = {"success": Estimate(success["mean"], tuple(success["ci95"]))}
    return TradeOffPoint(summary["sampler"]["name"], worth, latency["p50"], latency["p95"], latency["p99"])
