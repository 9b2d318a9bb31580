"""Reads recorded demonstrations of any program for inspection, and describes them and what they lack."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from paradp.scripts.console import console, loading, say
from paradp.scripts.data import RECORDED_PARTS, untold_remarks
from paradp.scripts.datasets import check_known, is_diffusion_policy, is_lerobot, is_minari

if TYPE_CHECKING:
    from paradp.policy.data.dataset import ImageSource
    from paradp.rollouts.imports.recordings import RecordedFile


@dataclass(frozen=True)
class Looked:
    """Demonstrations from any program.

    Attributes:
        ends: of the episodes, `[n]`.
        arrays: the recorded arrays without images, all episodes concatenated.
        images: reads the images, if there are any.
        parts: what an action consists of, where that is known: quantity → length.
        control_hz: control steps a second, where the file says so.
        named: whether a `paradp.yaml` names the quantities, so that it can split the vectors.
        times: recorded time of each step in seconds, where it is not among the arrays.
    """

    ends: np.ndarray
    arrays: dict[str, np.ndarray]
    images: "ImageSource | None"
    parts: Mapping[str, int] | None
    control_hz: float | None
    named: bool = False
    times: np.ndarray | None = None


class _EpisodeImages:
    """Images that are read an episode at a time: an `ImageSource`.

    Args:
        shapes: height, width and channels by camera.
        ends: of the episodes.
        read: reads the images of an episode.
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        ends: np.ndarray,
        read: Callable[[int], Mapping[str, np.ndarray]],
    ):
        self.shapes = dict(shapes)
        self._ends, self._read = ends, read
        self._held: tuple[int, Mapping[str, np.ndarray]] = (-1, {})

    def fill(self, begin: int, end: int, out: Mapping[str, np.ndarray]) -> None:
        """See `ImageSource`."""
        at = begin
        while at < end:
            episode = int(np.searchsorted(self._ends, at, "right"))
            first, last = int(self._ends[episode - 1]) if episode else 0, int(self._ends[episode])
            if self._held[0] != episode:
                self._held = episode, self._read(episode)
            until = min(end, last)
            for key, values in out.items():
                values[at - begin : until - begin] = self._held[1][key][at - first : until - first]
            at = until

    def close(self) -> None:
        """See `ImageSource`; no file stays open."""


def look(path: Path, actions: str) -> Looked:
    """Reads all but the images of demonstrations.

    Args:
        path: the file or folder.
        actions: the array with the actions in an HDF5 file of robomimic.

    Raises:
        ValueError: they cannot be read.
    """
    check_known(path)
    if is_lerobot(path):
        return _lerobot(path)
    if is_minari(path):
        return _minari(path)
    if is_diffusion_policy(path):
        return _diffusion_policy(path)
    return _ours(path) if path.is_dir() else _recorded(path, actions)


def _lerobot(folder: Path) -> Looked:
    with loading("what reads LeRobot's data sets"):
        from paradp.bridges.facts import FILE, read_facts
        from paradp.bridges.lerobot_data.frames import LeRobotFrames
        from paradp.bridges.lerobot_data.remarks import statistics_remarks
    facts = read_facts(folder)
    frames = LeRobotFrames.open(folder, facts)
    described = frames.described
    kinds = ", ".join(f"{key} ({feature.kind})" for key, feature in described.features.items())
    console.print(f"{folder}: LeRobotDataset {described.version}, {described.fps} frames a second; {kinds}")
    for remark in statistics_remarks(frames):
        console.print(f"remark: {remark}")
    if lacking := facts.lacking():
        console.print(f"before training, {folder / FILE} must say its {', '.join(lacking)}")
    arrays = {**frames.vectors(), "action": frames.actions()}
    return Looked(frames.episode_ends, arrays, frames.images(), facts.action, described.fps, named=True)


def _diffusion_policy(folder: Path) -> Looked:
    with loading("what reads Diffusion Policy's data sets"):
        from paradp.bridges.diffusion_policy_data import DiffusionPolicyData
        from paradp.bridges.facts import FILE, read_facts
    facts, data = read_facts(folder), DiffusionPolicyData.open(folder)
    console.print(f"{folder}: a data set of Diffusion Policy's (zarr 2)")
    if lacking := [*facts.lacking(), *(["control_hz"] if facts.control_hz is None else [])]:
        console.print(f"before training, {folder / FILE} must say its {', '.join(lacking)}")
    arrays = {**data.vectors(), "action": data.actions()}
    return Looked(data.episode_ends, arrays, data.images(), facts.action, facts.control_hz, named=True, times=data.times())


def _minari(path: Path) -> Looked:
    with loading("what reads Minari's data sets"):
        from paradp.bridges.facts import read_facts
        from paradp.bridges.minari_data import MinariData
    data = MinariData.open(path)
    facts = read_facts(data.path)
    console.print(f"{data.path}: a data set of Minari's")
    vectors: dict[str, list[np.ndarray]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for episode in data.episodes():
        for key, values in {**episode.observations, "action": episode.actions}.items():
            if values.ndim == 4:
                shapes[key] = values.shape[1:]
            else:
                vectors.setdefault(key, []).append(values)
    arrays = {key: np.concatenate(values) for key, values in vectors.items()}
    images = _EpisodeImages(shapes, data.episode_ends, lambda index: data.episode(index).observations)
    return Looked(data.episode_ends, arrays, images, facts.action, facts.control_hz, named=True)


def _parts(file: "RecordedFile") -> dict[str, int] | None:
    """The parts of a recorded action, if all episodes seem to have the same convention of robosuite."""
    from paradp.rollouts.imports.conventions import looks_like

    looks = {looks_like(recording) for recording in file.recordings}
    return RECORDED_PARTS.get(looks.pop() or "") if len(looks) == 1 else None


def _ours(path: Path) -> Looked:
    with loading("what reads demonstrations"):
        from paradp.policy.data.demonstrations import Demonstrations
    there = Demonstrations.open(path)
    say(f"{there.path}: demonstrations of {there.info.task}, actions {there.info.action_convention}")
    arrays = {**there.vectors(), "action": there.actions()}
    return Looked(
        there.episode_ends,
        arrays,
        there.images(),
        there.info.action,
        there.info.control_hz,
        "dataset" in there.info.made_with,
    )


def _recorded(path: Path, actions: str) -> Looked:
    with loading("what reads HDF5"):
        from paradp.rollouts.imports.recordings import read_file, read_images
    file = read_file(path, actions)
    _tell_of_file(file)
    ends = np.cumsum([len(recording) for recording in file.recordings])
    everywhere = set.intersection(*(set(recording.arrays) for recording in file.recordings))
    arrays = {
        name: np.concatenate([recording.arrays[name] for recording in file.recordings])
        for name, first in file.recordings[0].arrays.items()
        if name in everywhere and len({recording.arrays[name].shape[1] for recording in file.recordings}) == 1
    }
    shapes: dict[str, tuple[int, ...]] = {key: shape for key, shape in file.images.items() if not isinstance(shape, int)}
    images = _EpisodeImages(shapes, ends, lambda index: read_images(file, file.recordings[index].name, list(shapes)))
    return Looked(ends, arrays, images, _parts(file), file.settings.control_hz)


def _tell_of_file(file: "RecordedFile") -> None:
    """Prints the file's origin, its actions, and its defects."""
    from paradp.rollouts.imports.conventions import looks_like
    from paradp.rollouts.imports.defects import defects

    settings, looks = file.settings, Counter(looks_like(recording) for recording in file.recordings)
    version = f" {settings.version}" if settings.version else ""
    rate = f", {settings.control_hz} Hz" if settings.control_hz else ""
    console.print(f"{file.path}: {settings.environment}, robosuite{version}{rate}")
    for kind, count in looks.items():
        described = f"look {kind}" if kind else "are in no convention that is known here"
        console.print(f"actions {described}" + f" in {count} of {len(file.recordings)} episodes" * (len(looks) > 1))
    found = defects(file)
    for defect in found:
        console.print(f"defect: {defect}", style="red")
    if not found:
        _tell_of_import(file)


def _tell_of_import(file: "RecordedFile") -> None:
    """The task of a file without defects, and warnings."""
    from paradp.rollouts.imports.defects import remarks
    from paradp.rollouts.imports.fitting import misfits, task_of

    remarked = remarks(file)
    try:
        task = task_of(file)
    except ValueError as error:
        console.print(str(error))
    else:
        misfitting = misfits(file, task)
        console.print(f"task: {task}" + " as it is here" * (not misfitting))
        for misfit in misfitting:
            console.print(f"not importable: {misfit}", style="red")
        remarked += untold_remarks(file, task)
    for remark in remarked:
        console.print(f"remark: {remark}")
