"""`--rerun`: recordings for Rerun's viewer, of runs, of robots that are driven and of demonstrations."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from paradp.envs import ACTION_CONVENTIONS
from paradp.scripts.console import progress, say
from paradp.scripts.data import ACTIONS
from paradp.scripts.extras import check_installed
from paradp.scripts.places import check_file, unused

if TYPE_CHECKING:
    from paradp.policy import Command
    from paradp.policy.spec import Interface
    from paradp.rollouts.episodes.config import RolloutConfig
    from paradp.rollouts.realtime.reports import TickReport
    from paradp.rollouts.realtime.rerun_recording import PathOf, RecordedEpisodes
    from paradp.scripts.looking import Looked

RECORDING = "recording.rrd"


def check_rerun(path: Path | None = None) -> None:
    """Checks that a recording can be made, before anything is loaded.

    Raises:
        ModuleNotFoundError: Rerun is not installed.
        ValueError: the file does not end in `.rrd`, or cannot be written.
        OSError: it cannot be written.
    """
    check_installed("rerun", "PIL")
    if path is not None:
        check_file(path, "--rerun", ".rrd")


@contextmanager
def recorded_run(config: "RolloutConfig", wanted: bool) -> "Iterator[list[RecordedEpisodes]]":
    """Yields the subscriber that records a run in its directory, or none if it is not wanted."""
    if not wanted:
        yield []
        return
    from paradp.checkpoints import read_info
    from paradp.rollouts.realtime.rerun_recording import RecordedEpisodes

    spec, path = read_info(config.checkpoint_path).spec, unused(config.out / RECORDING)
    episodes = RecordedEpisodes(path, spec, _path_of(spec.action_convention))
    try:
        yield [episodes]
    finally:
        if episodes.close():
            _say(path)


@contextmanager
def recorded_drive(path: Path | None, spec: "Interface") -> "Iterator[Callable[[TickReport, Command], None]]":
    """Yields a function that records control steps of a robot; it drops steps rather than wait.

    Enter it before the robot is started: at its end it waits for the disk, and the robot should be at rest by then.

    Raises:
        OSError: something could not be recorded.
    """
    if path is None:
        yield lambda report, command: None
        return
    from paradp.rollouts.realtime.rerun_recording import RerunRecording

    recording = RerunRecording(path, spec.control_hz, spec.action, _path_of(spec.action_convention), wait=False)
    first: dict[int, int] = {}

    def record(report: "TickReport", command: "Command") -> None:
        step = report.tick - first.setdefault(report.seed, report.tick)
        recording.step(str(report.seed), step, report.observation, command.action, command.replan)

    try:
        yield record
    except BaseException:
        with suppress(OSError):  # the first error is the one to report
            recording.close()
        raise
    recording.close()
    _say(path)


def record_demonstrations(path: Path, found: "Looked", episodes: int) -> None:
    """Records the first episodes of demonstrations, reading the images of one at a time.

    Raises:
        ValueError: an image cannot be read.
        OSError: something could not be recorded.
    """
    from paradp.rollouts.realtime.rerun_recording import RerunRecording

    vectors = dict(found.arrays)
    actions = vectors.pop("action", vectors.pop(ACTIONS, None))
    parts = found.parts if found.parts is not None or actions is None else {"action": actions.shape[1]}
    ends = found.ends[:episodes].tolist()
    recording = RerunRecording(path, found.control_hz or 1.0, parts or {})
    try:
        with progress(f"recording {path.name}", len(ends)) as report:
            for episode, (begin, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
                images = _images(found, begin, end)
                for row in range(begin, end):
                    seen = {key: values[row - begin] for key, values in images.items()}
                    seen |= {key: values[row] for key, values in vectors.items()}
                    recording.step(str(episode), row - begin, seen, None if actions is None else actions[row])
                report(episode + 1)
    finally:
        recording.close()
    _say(path)


def _images(found: "Looked", begin: int, end: int) -> dict[str, np.ndarray]:
    if found.images is None:
        return {}
    images = {key: np.empty((end - begin, *shape), np.uint8) for key, shape in found.images.shapes.items()}
    found.images.fill(begin, end, images)
    return images


def _path_of(convention: str) -> "PathOf | None":
    known = ACTION_CONVENTIONS.get(convention)
    return None if known is None or known.unit == "rad" else known.path  # angles of joints are not places


def _say(path: Path) -> None:
    say(f"recording: {path}, to be opened with: rerun {path}")
