"""Reads a LeRobotDataset as training data."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paradp.bridges.data_facts import info_of
from paradp.bridges.facts import FILE, Facts, read_facts
from paradp.bridges.lerobot_data.frames import LeRobotFrames
from paradp.bridges.lerobot_data.images import LeRobotImages
from paradp.bridges.lerobot_data.layout import ACTION
from paradp.policy.data.dataset import content_digest
from paradp.policy.data.episode import DemonstrationEpisode


class LeRobotData:
    """A data set of LeRobot, as a `StreamedDataset`. `open` makes one.

    Args:
        frames: the frames of the data set.
        facts: information that the data set lacks.

    Attributes:
        path: the data set's folder.
        info: the description of the data set.

    Raises:
        ValueError: a fact is missing or does not fit.
    """

    def __init__(self, frames: LeRobotFrames, facts: Facts):
        self._frames = frames
        self.path = frames.path
        described, shapes = frames.described, {key: one.shape for key, one in frames.described.features.items()}
        if facts.control_hz not in (None, described.fps):
            raise ValueError(
                f"{self.path / FILE} says control_hz: {facts.control_hz}, and its frames come {described.fps} times a second"
            )
        known = facts.filled(Facts(control_hz=described.fps))
        action = (ACTION, shapes[ACTION][0])
        made_with = {"dataset": f"LeRobotDataset {described.version}"}
        self.info = info_of(self.path, frames.parts, shapes, action, known, made_with)

    @classmethod
    def open(
        cls, path: Path, facts: Mapping[str, Any] | None = None, task: str | None = None, keys: Collection[str] = ()
    ) -> "LeRobotData":
        """Opens a data set; frames are read later.

        Args:
            path: the folder.
            facts: information that it lacks, see `paradp.bridges.Facts`; facts not given are read from its `paradp.yaml`.
            task: name of the task, if neither contains it.
            keys: the observed features to read; by default those named in the facts, or all.

        Raises:
            ValueError: the folder is not a LeRobotDataset or is damaged, or a fact is missing; the message names the reason.
            OSError: a file is missing or cannot be read.
        """
        known = read_facts(path, facts).filled(Facts(task=task))
        return cls(LeRobotFrames.open(path, known, keys), known)

    @property
    def episode_ends(self) -> np.ndarray:
        return self._frames.episode_ends

    def observations(self) -> dict[str, np.ndarray]:
        """Reads the observations of all episodes: feature → `[steps, *shape]`; errors as of `LeRobotFrames.observations`."""
        return self._frames.observations()

    def actions(self) -> np.ndarray:
        """Reads the actions to learn, `[steps, A]`; errors as of `observations`."""
        return self._frames.actions()

    def vectors(self) -> dict[str, np.ndarray]:
        """Reads only the vectors of `observations`, without decoding images."""
        return self._frames.vectors()

    def images(self) -> LeRobotImages:
        """Returns a reader of images by frame."""
        return self._frames.images()

    def digest(self) -> str:
        """The hash of the content; equals that of demonstrations in paradp's format with the same content."""
        return content_digest(self)

    def episodes(self) -> Iterator[DemonstrationEpisode]:
        """Yields the episodes, holding only one in memory at a time; errors as of `observations`."""
        return self._frames.episodes()
