"""`--rerun`: recordings for Rerun's viewer, of runs, of robots that are driven and of demonstrations."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from paradp.envs import ACTION_CONVENTIONS
from paradp.scripts.console import progress, say
from paradp.scripts.extras import check_installed
from paradp.scripts.places import check_file

if TYPE_CHECKING:
    from paradp.policy import Command
    from paradp.policy.spec import Interface
    from paradp.rollouts.episodes.config import RolloutConfig
    from paradp.rollouts.realtime.reports import TickReport
    from paradp.rollouts.realtime.rerun_recording import PathOf, RecordedEpisodes

RECORDING = "recording.rrd"


def check_rerun(path: Path | None = None) -> None:
    """Checks that a recording can be made, before anything is loaded.

    Raises:
        ModuleNotFoundError: Rerun is not installed.
        ValueError, OSError: the file cannot be written.
    """
    check_installed("rerun", "PIL")
    if path is not None:
        check_file(path, "--rerun")


@contextmanager
def recorded_run(config: "RolloutConfig", wanted: bool) -> "Iterator[list[RecordedEpisodes]]":
    """What records the episodes of a run, in its directory; nothing unless it is wanted."""
    if not wanted:
        yield []
        return
    from paradp.checkpoints import read_info
    from paradp.rollouts.realtime.rerun_recording import RecordedEpisodes

    spec, path = read_info(config.checkpoint_path).spec, config.out / RECORDING
    episodes = RecordedEpisodes(path, spec, _path_of(spec.action_convention))
    try:
        yield [episodes]
    finally:
        if episodes.close():
            _say(path)


@contextmanager
def recorded_drive(path: Path | None, spec: "Interface") -> "Iterator[Callable[[TickReport, Command], None]]":
    """What records the control steps of a robot; control steps are left out rather than waited for."""
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
    finally:
        recording.close()
        _say(path)


def record_demonstrations(
    path: Path, arrays: Mapping[str, np.ndarray], ends: np.ndarray, action: str, parts: Mapping[str, int] | None, hz: float
) -> None:
    """Records episodes of demonstrations.

    Args:
        path: the file.
        arrays: what was recorded in every step, all episodes one after another.
        ends: of the episodes to record.
        action: which array has the actions.
        parts: name → length of each part of an action, if they are known.
        hz: control steps a second.

    Raises:
        OSError: something could not be recorded.
    """
    from paradp.rollouts.realtime.rerun_recording import RerunRecording

    actions = arrays.get(action)
    known = parts if parts is not None or actions is None else {action: actions.shape[1]}
    recording = RerunRecording(path, hz, known or {})
    try:
        with progress(f"recording {path.name}", len(ends)) as report:
            for episode, (begin, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
                for row in range(begin, end):
                    seen = {key: values[row] for key, values in arrays.items() if key != action}
                    recording.step(str(episode), row - begin, seen, None if actions is None else actions[row])
                report(episode + 1)
    finally:
        recording.close()
    _say(path)


def _path_of(convention: str) -> "PathOf | None":
    known = ACTION_CONVENTIONS.get(convention)
    return None if known is None else known.path


def _say(path: Path) -> None:
    say(f"recording: {path}, to be opened with: rerun {path}")
