"""Limits on a robot's commands, and the reasons to stop it."""

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from paradp.policy.rotations import SIZE, check_rotation, rotations_in
from paradp.policy.spec import Interface
from paradp.policy.values import is_real, positive_number

# Smallest step of a dimension, as a share of its range.
LEAST_STEP = 1e-3
LEAST_FROZEN_FRAMES = 10  # at low control rates
# A command moves the robot if it is further from holding still than this share of the rate limit, or of the range.
_MOVING_RATE, _MOVING_RANGE = 0.1, 5e-3


class StopReason(StrEnum):
    """Why a robot was stopped."""

    NOT_FINITE = "the command is not finite"
    NO_ROTATION = "the command's rotation is invalid"
    JUMP = "the command jumps"
    STALE = "the observation is frozen"
    LATE = "a plan is late"
    DEAD = "inference is dead"
    FAULT = "the controller failed"
    OUTSIDE = "stop() was called"


class Unsafe(ValueError):
    """A command or an observation that stops the robot."""

    def __init__(self, reason: StopReason, detail: str):
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True)
class SafetyLimits:
    """Limits on the commands that are sent to a robot. The arrays are copied and read-only.

    Attributes:
        low, high: `[A]`, action limits.
        rate: `[A]`, largest change from one action to the next; a larger change is slowed down. `None` for no limit.
        jump: `[A]`, a change larger than this is a fault and stops the robot. `None` for no limit.
        frozen_steps: how many control steps in a row an observation may be identical, bit for bit. Steps in which the robot
            was commanded to hold do not count, because a robot at rest may observe the same twice. It does not apply to
            observations of images alone. `None` for no limit.
        rotations: name and first dimension of each rotation_6d in an action; its two rows must not be zero or parallel.
        cameras: the images of an observation.
        frozen_frames: how many control steps in a row a camera may show the same frame, bit for bit, while everything else
            goes on. Only steps in which the robot was commanded to `move` count, because a robot at rest sees the same.
            `None` for no limit.
    """

    low: np.ndarray
    high: np.ndarray
    rate: np.ndarray | None = None
    jump: np.ndarray | None = None
    frozen_steps: int | None = 10
    rotations: tuple[tuple[str, int], ...] = ()
    cameras: tuple[str, ...] = ()
    frozen_frames: int | None = 20

    def __post_init__(self) -> None:
        for name in ("low", "high", "rate", "jump"):
            if (limit := getattr(self, name)) is None:
                continue
            limit = np.array(limit)
            if not is_real(limit):
                raise ValueError(f"{name} must be an array of numbers, not of dtype {limit.dtype}")
            limit.flags.writeable = False
            object.__setattr__(self, name, limit)
            if limit.shape != self.low.shape:
                raise ValueError(f"{name} has shape {limit.shape}, low {self.low.shape}")
        if not (self.low <= self.high).all():
            raise ValueError("low must not be above high")
        if any(limit is not None and not (limit > 0).all() for limit in (self.rate, self.jump)):
            raise ValueError("rate and jump must be positive")
        for name in ("frozen_steps", "frozen_frames"):
            steps = getattr(self, name)
            if steps is not None and (type(steps) is not int or steps < 1):
                raise ValueError(f"{name} must be at least 1, and a whole number, not {steps!r}")

    @classmethod
    def of(cls, spec: Interface, rate: float = 1.5, jump: float = 4.0) -> "SafetyLimits":
        """The policy's action limits; rate and jump are multiples of the largest step in its demonstrations.

        Rate and jump are not limited if the checkpoint does not contain that step. A camera may show the same frame for a
        second.
        """
        low, high = (np.array(limit, np.float32) for limit in (spec.action_low, spec.action_high))
        rate, jump = positive_number("rate", rate, "steps"), positive_number("jump", jump, "steps")
        rate_limit = jump_limit = None
        if spec.action_step is not None:
            # Dimensions that never move in the demonstrations may move a little.
            step = np.maximum(np.array(spec.action_step, np.float32), LEAST_STEP * (high - low))
            rate_limit, jump_limit = rate * step, jump * step
        return cls(
            low,
            high,
            rate_limit,
            jump_limit,
            rotations=tuple(rotations_in(spec.action)),
            cameras=tuple(key for key, feature in spec.observed.items() if feature.kind == "image"),
            frozen_steps=max(cls.frozen_steps or 0, spec.control_hz // 2),
            frozen_frames=max(LEAST_FROZEN_FRAMES, spec.control_hz),
        )

    def moves(self, action: np.ndarray, resting: np.ndarray) -> bool:
        """Whether an action moves the robot visibly.

        Args:
            action: the action.
            resting: the one that would hold the robot still instead.
        """
        least = _MOVING_RANGE * (self.high - self.low) if self.rate is None else _MOVING_RATE * self.rate
        return bool((np.abs(action - resting) > least).any())

    def including(self, *actions: np.ndarray) -> "SafetyLimits":
        """The limits, with `low` and `high` widened as far as these actions."""
        low, high = (np.vstack([limit, *actions]) for limit in (self.low, self.high))
        if (low >= self.low).all() and (high <= self.high).all():
            return self
        return replace(self, low=low.min(0), high=high.max(0))

    def check_start(self, position: np.ndarray) -> None:
        """Raises:
        ValueError: the robot's position is outside the limits by more than the jump limit.
        """
        outside = np.abs(position - position.clip(self.low, self.high))
        if self.jump is None or (outside <= self.jump).all():
            return
        worst = int((outside / self.jump).argmax())
        limit = (self.low if position[worst] < self.low[worst] else self.high)[worst]
        raise ValueError(
            f"the robot cannot start at {position[worst]:g} in dimension {worst} of its position, because the limit is"
            f" {limit:g} and a command may change by at most {self.jump[worst]:g}: move the robot into the limits first"
        )

    def checked(self, action: np.ndarray) -> np.ndarray:
        """The nearest action within the limits, a copy.

        Raises:
            Unsafe: it has another shape or type, is not finite, or contains an invalid rotation.
        """
        return self.within(self.sound(action))

    def sound(self, action: np.ndarray) -> np.ndarray:
        """The action as an array.

        Raises:
            Unsafe: it has another shape or type, or is not finite.
        """
        action = np.asarray(action)
        if action.shape != self.low.shape:
            raise Unsafe(StopReason.FAULT, f"the command has shape {action.shape}, not {self.low.shape}")
        if not is_real(action):
            raise Unsafe(StopReason.FAULT, f"the command must be an array of numbers, not of dtype {action.dtype}")
        if not np.isfinite(action).all():
            raise Unsafe(StopReason.NOT_FINITE, f"the command is not finite: {action}")
        return action

    def within(self, action: np.ndarray) -> np.ndarray:
        """The nearest action within `low` and `high`, a copy.

        Raises:
            Unsafe: a rotation is invalid, or clipping has made it so.
        """
        limited = action.clip(self.low, self.high)
        for name, first in self.rotations:
            try:
                check_rotation(name, limited[first : first + SIZE])
            except ValueError as error:
                raise Unsafe(StopReason.NO_ROTATION, str(error)) from None
        return limited

    def near(self, action: np.ndarray, last: np.ndarray) -> np.ndarray:
        """The action, or the part of the way from the last action that the rate limit allows.

        Raises:
            Unsafe: the change exceeds the jump limit.
        """
        away = action - last
        if self.jump is not None and (np.abs(away) > self.jump).any():
            worst = int((np.abs(away) / self.jump).argmax())
            raise Unsafe(StopReason.JUMP, f"dimension {worst} of the command goes from {last[worst]:g} to {action[worst]:g}")
        if self.rate is None or (np.abs(away) <= self.rate).all():
            return action
        return last + away.clip(-self.rate, self.rate)


@dataclass
class SafetyReport:
    """The actions of the safety checks since the last reset.

    Attributes:
        steps: control steps.
        limited: steps whose command was clipped to the action limits.
        slowed: steps whose command was slowed to the rate limit.
        stopped: the reason of the stop; `None` while the robot may move.
        detail: the reason in one sentence.
        stopped_at: the first control step in which the robot was commanded to hold after the stop, counted from 0.
    """

    steps: int = 0
    limited: int = 0
    slowed: int = 0
    stopped: StopReason | None = None
    detail: str = ""
    stopped_at: int | None = None
