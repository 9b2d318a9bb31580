"""A LeRobotDataset v3 as training data."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paradp.bridges.facts import AS_RECORDED, FILE, Facts, read_facts
from paradp.bridges.lerobot_data.frames import LeRobotFrames
from paradp.bridges.lerobot_data.layout import ACTION
from paradp.policy.data.dataset import content_digest
from paradp.policy.data.episode import DemonstrationEpisode, DemonstrationInfo
from paradp.policy.features import Shape


class LeRobotData:
    """A LeRobotDataset as a `Dataset` for training. Made by `open`.

    Args:
        frames: its frames.
        facts: information that it lacks.

    Attributes:
        path: its folder.
        info: its description.

    Raises:
        ValueError: a fact is missing or does not fit.
    """

    def __init__(self, frames: LeRobotFrames, facts: Facts):
        self._frames = frames
        self.path = frames.path
        self.info = _info(frames, facts)

    @classmethod
    def open(cls, path: Path, facts: Mapping[str, Any] | None = None, task: str | None = None) -> "LeRobotData":
        """Opens a data set; frames are read later.

        Args:
            path: the folder.
            facts: information that it lacks, see `paradp.bridges.Facts`; facts not given are read from its `paradp.yaml`.
            task: name of the task, if neither contains it.

        Raises:
            ValueError: it is not a LeRobotDataset v3, is damaged, or a fact is missing; the message names the reason.
            OSError: a file is missing or cannot be read.
        """
        known = read_facts(path, facts).filled(Facts(task=task))
        return cls(LeRobotFrames.open(path, known), known)

    @property
    def episode_ends(self) -> np.ndarray:
        return self._frames.episode_ends

    def observations(self) -> dict[str, np.ndarray]:
        """Reads the observations of all episodes: feature → `[steps, *shape]`; errors as of `LeRobotFrames.observations`."""
        return self._frames.observations()

    def actions(self) -> np.ndarray:
        """Reads the actions to learn, `[steps, A]`; errors as of `observations`."""
        return self._frames.actions()

    def digest(self) -> str:
        """The hash of the content; equals that of demonstrations in paradp's format with the same content."""
        return content_digest(self)

    def episodes(self) -> Iterator[DemonstrationEpisode]:
        """Yields the episodes, holding only one in memory at a time; errors as of `observations`."""
        return self._frames.episodes()


def _info(frames: LeRobotFrames, facts: Facts) -> DemonstrationInfo:
    folder, described = frames.path, frames.described
    size = described.features[ACTION].shape[0]
    if missing := facts.lacking():
        raise ValueError(
            f"{folder} does not say its {', '.join(missing)}: write them into {folder / FILE}, such as "
            f'"task: pusht", "action_low: {[0.0] * size}"'
        )
    # For the type checker: checked above.
    assert facts.task is not None and facts.action_low is not None and facts.action_high is not None
    if facts.control_hz not in (None, described.fps):
        raise ValueError(
            f"{folder / FILE} says control_hz: {facts.control_hz}, and its frames come {described.fps} times a second"
        )
    action = facts.action or {ACTION: size}
    if sum(action.values()) != size:
        raise ValueError(f"{folder}: the parts of the action, {action}, must have {size} numbers together")
    observation: dict[str, Shape] = {}
    for key, said in frames.parts.items():
        if isinstance(said, str):
            height, width, channels = described.features[key].shape
            observation[said] = (height, width, channels)
        else:
            observation |= said
    try:
        return DemonstrationInfo(
            facts.task,
            facts.action_convention or AS_RECORDED,
            observation,
            action,
            facts.action_low,
            facts.action_high,
            described.fps,
            facts.controller or {},
            {"dataset": "LeRobotDataset v3"},
        )
    except ValueError as error:
        raise ValueError(f"{folder} cannot be used: {error}") from error
