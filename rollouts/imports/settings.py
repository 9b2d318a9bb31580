"""Reads the settings of a recording: the environment, the robot and its controller."""

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from paradp.policy.errors import described
from paradp.policy.files import hdf5
from paradp.policy.files.reading import parse_json

if TYPE_CHECKING:
    import h5py

Frame = Literal["base", "world"]


@dataclass(frozen=True)
class RecordingSettings:
    """The settings of a recording, as far as its file contains them.

    Attributes:
        environment: robosuite's name of the environment.
        version: version of robosuite; in robomimic's files the one that extracted the observations; empty if missing.
        control_hz: control steps per second.
        robot: name of the robot.
        controller: settings of the arm's controller.
    """

    environment: str
    version: str
    control_hz: int | None
    robot: str | None
    controller: dict[str, Any]

    @property
    def frame(self) -> Frame:
        """The frame of absolute goals: by default the world, and since robosuite 1.5 the robot's base."""
        default: Frame = "base" if (numbers := self._numbers) and numbers >= (1, 5) else "world"
        return self.controller.get("input_ref_frame", default)

    @property
    def keeps_turn(self) -> bool:
        """Whether a delta without rotation leaves the controller's goal rotation as it was, as in robosuite until 1.4.

        robomimic's files for 1.5 contain recordings of older versions; their controller has the older version's keys.
        """
        numbers = self._numbers
        return "control_delta" in self.controller or numbers is None or numbers < (1, 5)

    @property
    def _numbers(self) -> tuple[int, int] | None:
        found = re.match(r"(\d+)\.(\d+)", self.version)
        return (int(found[1]), int(found[2])) if found else None


def read_settings(data: "h5py.Group") -> RecordingSettings:
    """Reads the settings from the file's group `data`.

    Raises:
        ValueError: the environment is missing, or the settings cannot be read.
    """
    environment, version, arguments = _environment(data)
    return RecordingSettings(
        environment,
        version,
        _rate(arguments.get("control_freq")),
        _robot(arguments.get("robots")),
        _arm(arguments.get("controller_configs")),
    )


def _environment(data: "h5py.Group") -> tuple[str, str, dict[str, Any]]:
    """Returns the environment's name, robosuite's version, and the environment's arguments."""
    try:
        version = hdf5.text(data, "repository_version") or ""
        if (text := hdf5.text(data, "env_args")) is not None:
            found = parse_json(text, constants=True)
            return str(found["env_name"]), str(found.get("env_version") or version), dict(found.get("env_kwargs") or {})
        if (environment := hdf5.text(data, "env")) is not None:
            return environment, version, dict(parse_json(hdf5.text(data, "env_info") or "{}", constants=True))
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise ValueError(f"what data says of its environment cannot be read: {described(error)}") from error
    raise ValueError("data has neither env_args (robomimic) nor env (robosuite): the environment is unknown")


def _rate(hz: Any) -> int | None:
    if hz is None:
        return None
    if type(hz) in (int, float) and math.isfinite(hz) and 0 < hz == int(hz):
        return int(hz)
    raise ValueError(f"the control rate must be a whole number, not {hz!r}")


def _robot(robots: Any) -> str | None:
    match robots:
        case str():
            return robots
        case [str(first)]:
            return first
        case [_, *_]:
            return " and ".join(map(str, robots))
    return None


def _arm(controller: Any) -> dict[str, Any]:
    """Returns the settings of the arm's controller from robosuite's configurations, old or new."""
    match controller:
        case [first, *_]:
            return _arm(first)
        case {"body_parts": {"right": dict(arm)}} | {"body_parts": {"arms": {"right": dict(arm)}}}:
            return _with_ratio(arm)
        case dict():
            return _with_ratio(controller)
    return {}


def _with_ratio(arm: dict[str, Any]) -> dict[str, Any]:
    """Adds the damping ratio under its present name; robomimic's files and robosuite's first versions call it `damping`."""
    return arm if "damping" not in arm else {"damping_ratio": arm["damping"], **arm}
