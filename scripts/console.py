"""What the commands say: progress with time left, and one sentence for a user's mistake."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console()
errors = Console(stderr=True)

T = TypeVar("T")


class Report(Protocol):
    """Tells a progress bar how much is done, and a note to show behind it."""

    def __call__(self, done: int, note: str = "") -> None: ...


@contextmanager
def progress(description: str, total: int) -> Iterator[Report]:
    """A progress bar with the time left."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    # Workers finish many episodes at once and then none for a minute. Drawn rarely: latencies are measured meanwhile.
    with Progress(*columns, console=console, speed_estimate_period=3600, refresh_per_second=2) as bar:
        task = bar.add_task(description, total=total, note="")

        def report(done: int, note: str = "") -> None:
            bar.update(task, completed=done, note=note)

        yield report


def each(description: str, items: Sequence[T]) -> Iterator[T]:
    """The items one after another, with a progress bar that says which it is at."""
    with progress(description, len(items)) as report:
        for done, item in enumerate(items):
            report(done, str(item))
            yield item
        report(len(items))
