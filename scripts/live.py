"""A live view of a control loop on the screen."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table

from paradp.rollouts.realtime.timeline import Timeline
from paradp.scripts.console import console

if TYPE_CHECKING:
    from paradp.rollouts import RolloutConfig
    from paradp.rollouts.realtime.watcher import Watcher

REDRAWN_SECONDS = 0.5
# Durations of each kind in a live view: it is drawn in the loop's thread, and must take as long after a day as at the start.
LATEST = 2000


@contextmanager
def live_view(draw: Callable[[], RenderableType]) -> Iterator[Callable[[], None]]:
    """Shows a view that is updated after changes, at most twice a second, and removed at the end."""
    drawn = -REDRAWN_SECONDS
    with Live(console=console, refresh_per_second=4, transient=True) as view:

        def changed() -> None:
            nonlocal drawn
            if time.monotonic() - drawn > REDRAWN_SECONDS:
                drawn = time.monotonic()
                view.update(draw())

        yield changed


def timing_table(timeline: Timeline, latest: int | None = None) -> Table:
    """The table of durations: of all, or of the latest ones of each kind."""
    table = Table(
        "ms", "p50", "p95", "p99", "p99.9", "max", "jitter", "count" if latest is None else f"of the latest {latest}"
    )
    for name, d in timeline.distributions(latest).items():
        table.add_row(name, *(f"{t:.1f}" for t in (d.p50, d.p95, d.p99, d.p99_9, d.max, d.jitter)), str(d.count))
    return table


def count_table(counts: Mapping[str, int]) -> Table:
    """The table of counts."""
    table = Table("of the loop", "count")
    for name, count in counts.items():
        table.add_row(name, str(count))
    return table


def loop_tables(config: "RolloutConfig", watcher: "Watcher", latest: int | None = None) -> Group:
    """The tables of a run's loop so far; durations as in `timing_table`."""
    counts = {
        f"episodes of {config.episodes}": watcher.episodes,
        "successes": watcher.successes,
        "control steps": watcher.steps,
        "over a control period": watcher.over,
        "held": watcher.held,
        "plans": watcher.plans,
        "unconverged": watcher.unconverged,
    }
    return Group(f"{config.task} · {config.sampler}", timing_table(watcher.timeline, latest), count_table(counts))
