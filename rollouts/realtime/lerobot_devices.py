"""Makes a robot by LeRobot: the one file that imports it, when a robot is asked for."""

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from paradp.policy.errors import described
from paradp.rollouts.realtime.lerobot_robot import LeRobotDevice


def make_device(kind: str, settings: Mapping[str, Any]) -> LeRobotDevice:
    """A robot that is not connected yet, also one of a plugin, `lerobot_robot_…`.

    Args:
        kind: LeRobot's `--robot.type`.
        settings: its other fields `--robot.…`, nested ones as mappings.

    Raises:
        ValueError: there is no such robot, it lacks a setting or a package, or has a setting too many; LeRobot says which.
    """
    import draccus
    from lerobot import cameras, robots
    from lerobot.utils.import_utils import register_third_party_plugins

    for package in (robots, cameras):  # each registers its names when it is imported
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if module.ispkg:
                import_module(module.name)
    register_third_party_plugins()
    if kind not in (known := robots.RobotConfig.get_known_choices()):
        raise ValueError(f"LeRobot has no robot {kind!r}; there are: {', '.join(sorted(known))}")
    try:
        device: LeRobotDevice = robots.make_robot_from_config(draccus.decode(robots.RobotConfig, {**settings, "type": kind}))
    except Exception as error:
        raise ValueError(f"the robot {kind!r} cannot be made: {described(error)}") from error
    return device
