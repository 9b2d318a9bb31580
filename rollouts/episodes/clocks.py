"""Clocks: the simulated time that a plan takes. The simulation can wait for plans, or continue as a real robot would.

| clock | simulated time of a plan |
| --- | --- |
| `ideal` | none: the simulation waits for the policy |
| `measured` | the time that the plan took on this machine |
| `fixed:MS` | always MS milliseconds |
| `replay:FILE` | the recorded times of another run's plans, in order |

A chunk planned from control step k's observation can be executed from step k + ⌊latency · control rate⌋ on.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from paradp.sampler.streams import stream

if TYPE_CHECKING:
    from paradp.policy import Clock

# sync requests a chunk when the last one is used up; ahead before that, with the blending in its name.
ControllerName = Literal["sync", "ahead", "ahead-blend", "ahead-inpaint"]
Kind = Literal["ideal", "measured", "fixed", "replay"]


@dataclass(frozen=True)
class ClockChoice:
    """A clock as typed by the user.

    Attributes:
        kind: see the table above.
        value: milliseconds of a fixed latency, or the file to replay: a run's `alone.parquet` (or another table of its
            control steps), or a text file with one number of milliseconds per line.
        latencies: latencies of a fixed or replayed clock in seconds.
    """

    kind: Kind = "ideal"
    value: str = ""
    latencies: tuple[float, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "ClockChoice":
        """Parses `ideal`, `measured`, `fixed:200` or `replay:FILE`.

        Raises:
            ValueError: the clock is unknown, its latency is not a number of milliseconds, or its file is unusable.
        """
        kind, _, value = text.partition(":")
        if kind not in get_args(Kind):
            raise ValueError(f"unknown clock {text!r}. There are: ideal, measured, fixed:MS, replay:FILE.")
        if bool(value) != (kind in ("fixed", "replay")):
            raise ValueError(f"the clock {text!r} should read ideal, measured, fixed:MS or replay:FILE")
        match kind:
            case "fixed":
                return cls("fixed", value, (_seconds(value),))
            case "replay":
                return cls("replay", value, _read_latencies(Path(value)))
        return cls(kind)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}" if self.value else self.kind

    def start(self, control_hz: int) -> "Clock | None":
        """A clock for one robot; `None` if the simulation waits."""
        if self.kind == "ideal":
            return None
        return ReplayedClock(self.latencies, control_hz) if self.latencies else MeasuredClock(control_hz)

    @property
    def identity(self) -> str:
        """The clock in a run's identity; a file is identified by its contents."""
        if self.kind != "replay":
            return str(self)
        # Earlier versions drew the start index from another random stream, so their runs cannot be continued.
        return f"replay:{hashlib.sha256(repr(('clock', self.latencies)).encode()).hexdigest()[:16]}"


IDEAL = ClockChoice()


class MeasuredClock:
    """The latency of a plan is the time that it took.

    Args:
        control_hz: control steps a second.
    """

    def __init__(self, control_hz: int):
        self._hz = control_hz

    def reset(self, seed: int | None) -> None:
        pass

    def lateness(self, seconds: float) -> int:
        return _control_steps(seconds, self._hz)


class ReplayedClock:
    """Replays recorded latencies cyclically; the seed's stream `clock` chooses the start index of an episode.

    Args:
        latencies: seconds.
        control_hz: control steps per second.
    """

    def __init__(self, latencies: Sequence[float], control_hz: int):
        self._steps = [_control_steps(seconds, control_hz) for seconds in latencies]
        self._next = 0

    def reset(self, seed: int | None) -> None:
        if seed is not None:
            self._next = int(stream(seed, "clock").integers(len(self._steps)))

    def lateness(self, seconds: float) -> int:
        self._next = (self._next + 1) % len(self._steps)
        return self._steps[self._next - 1]


def _control_steps(seconds: float, control_hz: int) -> int:
    # The tolerance makes 0.15 · 20 equal 3, although the product is rounded down.
    return math.floor(seconds * control_hz + 1e-9)


def _seconds(milliseconds: str) -> float:
    try:
        seconds = float(milliseconds) / 1000
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"a latency is a number of milliseconds, not {milliseconds!r}")
    return seconds


def _read_latencies(path: Path) -> tuple[float, ...]:
    from paradp.policy.files.limits import LATENCIES_BYTES
    from paradp.policy.files.reading import read_text

    if not path.is_file():
        raise ValueError(f"there is no file of latencies {path}")
    try:
        if path.suffix == ".parquet":
            from paradp.policy.files.tables import column_names, read_table

            if "cell" in column_names(path, inside=False):
                raise ValueError("it contains several cells; use the table of one cell")
            table = read_table(path, ("replan_seconds",), inside=False)
            latencies = [float(s) for s in table["replan_seconds"].dropna()]
        else:
            latencies = [_seconds(line) for line in read_text(path, LATENCIES_BYTES, inside=False).split()]
    except (ValueError, OSError, TypeError) as error:
        raise ValueError(f"{path} holds no latencies: {error}") from error
    if not latencies or not all(0 <= s < math.inf for s in latencies):
        raise ValueError(f"{path} holds no latencies")
    return tuple(latencies)
