"""The output of the commands: the current activity and its progress, and one sentence for a user's mistake.

On a terminal, progress is a line that changes; in a file, pipe or log it is a few plain lines, written immediately.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol, TypeVar

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.text import Text

from paradp.policy.errors import printable
from paradp.scripts.interrupts import leave_at_once


class _Verbatim(Console):
    """Shows text verbatim: names from untrusted files are not interpreted as markup or control sequences."""

    def __init__(self, stderr: bool = False):
        super().__init__(stderr=stderr, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Makes text printable before its width is measured for a table's columns."""
        return super().render_str(printable(text, keep="\n\t"), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Makes all text printable, also that of progress bars; rich's own control codes do not pass through here."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text, keep="\n"), segment.style)


console = _Verbatim()
errors = _Verbatim(stderr=True)

# Plain lines: one for each tenth of the work, at least this many seconds apart, and one after this time in any case.
SELDOM_SECONDS, OFTEN_SECONDS = 1.0, 20.0

# Characters of a progress bar within a line.
BAR_WIDTH = 20

# Name of the episodes that measure latency.
ALONE = "one robot alone, for its latency"

T = TypeVar("T")


class ProgressReport(Protocol):
    """Updates a progress bar: how much is done, and a note shown after the bar."""

    def __call__(self, done: int, note: str = "") -> None: ...


@contextmanager
def doing(what: str) -> Iterator[Callable[[str], None]]:
    """Shows the current activity and our packages' log; yields a function that shows a message beside it."""
    if console.is_terminal:
        with console.status(Text(f"{what} …")) as status:

            def show(message: str) -> None:
                status.update(Text(f"{what} … {message}"))

            with _logs(show):
                yield show
    else:
        say(f"{what} …")
        seldom = _Seldom(say)
        with _logs(seldom):
            yield seldom


@contextmanager
def loading(what: str = "PyTorch and the simulator") -> Iterator[None]:
    """Shows that heavy packages are being imported, and makes Ctrl-C end the process at once meanwhile."""
    with leave_at_once(), doing(f"loading {what}"):
        yield


def say(line: str) -> None:
    """Prints a line as it is, without breaking or colouring it."""
    console.print(line, highlight=False, soft_wrap=True)


@contextmanager
def progress(description: str, total: int) -> Iterator[ProgressReport]:
    """Shows the progress of some work, with the remaining time."""
    with (_bar if console.is_terminal else _lines)(description, total) as report:
        yield report


class Phases:
    """A context manager for work in several phases, each with its own progress bar. The next phase ends the last one."""

    def __init__(self) -> None:
        self._name = ""
        self._open = ExitStack()
        self._report: ProgressReport

    def __enter__(self) -> "Phases":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def report(self, phase: str, done: int, total: int) -> None:
        """Updates a phase: `done` of `total`. The first report of a phase starts it."""
        if phase != self._name:
            self._open.close()
            self._name, self._report = phase, self._open.enter_context(progress(phase, total))
        self._report(done)


@contextmanager
def _bar(description: str, total: int) -> Iterator[ProgressReport]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    # The speed is estimated over an hour, because workers finish many episodes at once and then none for a minute. The bar
    # is drawn rarely, because latencies are measured at the same time.
    with Progress(*columns, console=console, speed_estimate_period=3600, refresh_per_second=2) as bar:
        task = bar.add_task(description, total=total, note="")

        def report(done: int, note: str = "") -> None:
            bar.update(task, completed=done, note=note)

        with _logs(lambda message: bar.update(task, note=message)):
            yield report


@contextmanager
def _lines(description: str, total: int) -> Iterator[ProgressReport]:
    lines = Lines(description, total, say)
    over = threading.Event()

    def remind() -> None:
        while not over.wait(SELDOM_SECONDS):
            lines.tick()

    reminder = threading.Thread(target=remind, daemon=True)
    reminder.start()
    try:
        with _logs(_Seldom(say)):
            yield lines.report
    finally:
        over.set()
        reminder.join()


class Lines:
    """Progress as plain lines: at the start, for each tenth of the work, every twenty seconds, and at the end.

    The first line comes with the first report, which contains how much an earlier run has already done.

    Args:
        description: the activity.
        total: the amount of work.
        write: writes a line.
        clock: returns the time in seconds.
    """

    def __init__(
        self, description: str, total: int, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ):
        self._description, self._total, self._write, self._clock = description, total, write, clock
        self._lock = threading.Lock()
        self._began: tuple[float, int] | None = None
        self._done, self._note = 0, ""
        self._said_at, self._said = clock(), 0
        self._waited = False

    def report(self, done: int, note: str = "") -> None:
        """Updates the amount of finished work."""
        with self._lock:
            self._done, self._note = done, note
            if self._began is None:
                self._began = self._clock(), done
                self._begin(done)
            ended = done >= self._total > self._said
            if ended or (done - self._said >= self._total / 10 and self._clock() - self._said_at >= SELDOM_SECONDS):
                self._tell()

    def tick(self) -> None:
        """Writes a line if enough time has passed."""
        with self._lock:
            if self._began is None:
                if not self._waited and self._clock() - self._said_at >= SELDOM_SECONDS:
                    self._waited = True
                    self._write(f"{self._description} …")
            elif self._done < self._total and self._clock() - self._said_at >= OFTEN_SECONDS:
                self._tell()

    def _begin(self, done: int) -> None:
        self._said_at, self._said = self._clock(), done
        left = f"{self._total - done} to do" if done < self._total else "nothing to do"
        self._write(f"{self._description}: {left}" + f", {done} of {self._total} done" * (done > 0))

    def _tell(self) -> None:
        self._said_at, self._said = self._clock(), self._done
        self._write(f"{self._description}: {self._done} of {self._total}{self._left()}{', ' * bool(self._note)}{self._note}")

    def _left(self) -> str:
        began, first = self._began or (0.0, 0)
        if not first < self._done < self._total:
            return ""
        seconds = (self._clock() - began) / (self._done - first) * (self._total - self._done)
        return f", about {duration(seconds)} left"


def duration(seconds: float) -> str:
    """Formats a duration: `40 s`, `3 min`, `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def each(description: str, items: Sequence[T]) -> Iterator[T]:
    """Yields the items, with a progress bar that shows the current one."""
    with progress(description, len(items)) as report:
        for done, item in enumerate(items):
            report(done, str(item))
            yield item
        report(len(items))


class _Shown(logging.Handler):
    """Shows our packages' log: all warnings, and the progress of autotuning."""

    def __init__(self) -> None:
        super().__init__()
        self.show: Callable[[str], None] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            say(record.getMessage())
        elif record.name == "paradp.policy.engines.autotune" and self.show is not None:
            self.show(_with_bar(record))


def _with_bar(record: logging.LogRecord) -> str:
    """Formats a log record; on a terminal, a record with progress becomes a bar."""
    message, share = record.getMessage(), getattr(record, "share", None)
    if share is None or not console.is_terminal:
        return message
    done = round(BAR_WIDTH * share)
    return f"{'━' * done}{'╌' * (BAR_WIDTH - done)} {message.partition(': ')[2]}"


class _Seldom:
    """Writes a line unless the last one is too recent."""

    def __init__(self, write: Callable[[str], None]):
        self._write, self._at = write, time.monotonic()

    def __call__(self, line: str) -> None:
        if time.monotonic() - self._at > OFTEN_SECONDS / 2:
            self._at = time.monotonic()
            self._write(line)


_shown = _Shown()


@contextmanager
def _logs(show: Callable[[str], None]) -> Iterator[None]:
    """Within this context, handles our packages' log."""
    logger = logging.getLogger("paradp")
    if _shown not in logger.handlers:
        logger.addHandler(_shown)
        logger.setLevel(logging.INFO)
    before, _shown.show = _shown.show, show
    try:
        yield
    finally:
        _shown.show = before
