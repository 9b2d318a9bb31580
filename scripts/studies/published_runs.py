"""Reads the data for pictures back from pages of evaluations."""

import re

from paradp.scripts.figures import Late, late_run, periods
from paradp.scripts.studies.published import Page, Row, estimate
from paradp.scripts.trade_off import Period, TradeOffPoint

LATENCIES = ("cell", "plan p50", "plan p95", "plan p99")
OUTCOMES = ("cell", "success (95 %)")
HEADING = r"# (\w+): (\d+) episodes, seeds \d+ to \d+ a cell"
# Names of disturbances in the labels of runs.
DISTURBANCES = ("push", "belt")
# Ta of the shipped policies, in control steps.
EXECUTE = 8


def measured_runs(page: Page) -> list[TradeOffPoint]:
    """The points for `plot_trade_off`."""
    outcomes, latencies = page.table(*OUTCOMES), page.table(*LATENCIES)
    graded = any(row.get("reward (95 %)", row["success (95 %)"]) != row["success (95 %)"] for row in outcomes)
    return [_measured(*rows, graded) for rows in zip(outcomes, latencies, strict=True)]


def _measured(outcome: Row, latency: Row, graded: bool) -> TradeOffPoint:
    label = _label(outcome)
    if label != _label(latency):
        raise ValueError(f"rows of different runs: {label} and {_label(latency)}")
    success = {"success": estimate(outcome["success (95 %)"])}
    reward = {"reward": estimate(outcome["reward (95 %)"])} if graded else {}
    p50, p95, p99 = (float(latency[name]) for name in LATENCIES[1:])
    # A label is the sampler, then the clock and the disturbance. These two are conditions of the run, not of the method.
    return TradeOffPoint(label, reward | success, p50, p95, p99, world=", ".join(label.split(", ")[1:]))


def late_runs(page: Page) -> list[Late]:
    """The data for `plot_late`: the runs with a constant latency of plans."""
    found = []
    for row in page.table(*OUTCOMES):
        parts = _label(row).split(", ")
        clock = next((part for part in parts if re.fullmatch(r"ideal|fixed:.+", part)), "")
        world = next((part for part in parts if part in DISTURBANCES), "undisturbed")
        late = late_run(_label(row), clock, world, estimate(row["success (95 %)"]))
        found += [late] if late else []
    return found


def title_and_periods(page: Page) -> tuple[str, list[Period]]:
    """The title, from the page's heading; and the time limits for a plan, from the command that wrote the page."""
    heading = re.match(HEADING, page.text)
    if heading is None:
        raise ValueError("the page does not begin with its task and its number of episodes")
    task, episodes = heading.groups()
    execute = re.search(r"--execute[ =](\d+)", page.text)
    return f"{task}, {episodes} episodes each", periods(task, int(execute[1]) if execute else EXECUTE)


def _label(row: Row) -> str:
    return re.sub(r"^\d+\. ", "", row["cell"])
