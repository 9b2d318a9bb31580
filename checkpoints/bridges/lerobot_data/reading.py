"""A LeRobotDataset v3 as training data: a `Dataset`."""

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
    """A data set of LeRobot's: a `Dataset`. `open` makes one.

    Args:
        frames: what it holds.
        facts: what it does not say.

    Attributes:
        path: its folder.
        info: what is known of it.

    Raises:
        ValueError: a fact is missing or does not fit.
    """

    def __init__(self, frames: LeRobotFrames, facts: Facts):
        self._frames = frames
        self.path = frames.path
        self.info = _info(frames, facts)

    @classmethod
    def open(cls, path: Path, facts: Mapping[str, Any] | None = None, task: str | None = None) -> "LeRobotData":
        """Opens what is there; frames are read later.

        Args:
            path: the folder.
            facts: what it does not say, see `paradp.bridges.Facts`; what is not given is looked up in its `paradp.yaml`.
            task: what it is of, where neither says it.

        Raises:
            ValueError: it is no LeRobotDataset v3, damaged, or a fact is missing; the message names what.
            OSError: a file is not there or may not be read.
        """
        known = read_facts(path, facts).filled(Facts(task=task))
        return cls(LeRobotFrames.open(path, known), known)

    @property
    def episode_ends(self) -> np.ndarray:
        return self._frames.episode_ends

    def observations(self) -> dict[str, np.ndarray]:
        """Feature → `[steps, *shape]` of all episodes; errors as of `LeRobotFrames.observations`."""
        return self._frames.observations()

    def actions(self) -> np.ndarray:
        """The actions to learn, `[steps, A]`; errors as of `observations`."""
        return self._frames.actions()

    def digest(self) -> str:
        """Of the content; the same as that of our own demonstrations with the same content."""
        return content_digest(self)

    def episodes(self) -> Iterator[DemonstrationEpisode]:
        """One after another, of which only one is held; errors as of `observations`."""
        return self._frames.episodes()


def _info(frames: LeRobotFrames, facts: Facts) -> DemonstrationInfo:
    folder, described = frames.path, frames.described
    size = described.features[ACTION].shape[0]
    if missing := facts.lacking():
        raise ValueError(
            f"{folder} does not say its {', '.join(missing)}: write them into {folder / FILE}, such as "
            f'"task: pusht", "action_low: {[0.0] * size}"'
        )
    # For the type checker: that was seen to.
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
