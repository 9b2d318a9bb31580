"""Notices observations and cameras that are frozen: what a robot sees must change while it is commanded to move."""

import numpy as np

from paradp.policy.control.limits import SafetyLimits, StopReason, Unsafe
from paradp.policy.observations import Observation
from paradp.policy.wording import counted


class Watchdog:
    """Watches the observations of one episode.

    Args:
        limits: how long the whole observation, or a camera, may stay the same.
    """

    def __init__(self, limits: SafetyLimits):
        self._limits = limits
        self._seen: dict[str, bytes] | None = None
        self._frozen = 0
        self._still = dict.fromkeys(limits.cameras, 0)

    def look(self, observation: Observation, held: bool, moves: bool) -> None:
        """Compares an observation with the last one, bit for bit.

        Args:
            observation: the observation.
            held: whether the last command was to hold.
            moves: whether the last command moves the robot visibly.

        An observation of images alone is left to the rule for cameras, which may be slower than the control loop.

        Raises:
            Unsafe: it has been the same for too long, or a camera's frame has.
        """
        seen = {key: np.ascontiguousarray(value).tobytes() for key, value in observation.items()}
        before, self._seen = self._seen, seen
        images_alone = seen.keys() <= self._still.keys()
        self._frozen = self._frozen + (not held) if seen == before and not images_alone else 0
        if self._limits.frozen_steps is not None and self._frozen >= self._limits.frozen_steps:
            raise Unsafe(StopReason.STALE, f"the observation has not changed for {counted(self._frozen, 'control step')}")
        for camera in self._still:
            same = before is not None and camera in seen and seen[camera] == before.get(camera)
            self._still[camera] = self._still[camera] + moves if same else 0
            if self._limits.frozen_frames is not None and self._still[camera] >= self._limits.frozen_frames:
                steps = counted(self._still[camera], "control step")
                raise Unsafe(StopReason.STALE, f"the camera {camera!r} has shown the same frame for {steps} of motion")
