"""Makes a robot of LeRobot. The only file that imports LeRobot, and only when a robot is made."""

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from paradp.policy.errors import described
from paradp.rollouts.realtime.lerobot_robot import LeRobotDevice


def make_device(kind: str, settings: Mapping[str, Any]) -> LeRobotDevice:
    """Makes a robot, not connected yet; also one of a plugin, `lerobot_robot_…`.

    Args:
        kind: LeRobot's `--robot.type`.
        settings: its other fields `--robot.…`, nested ones as mappings.

    Raises:
        ValueError: there is no such robot, a setting or package is missing, or a setting is unknown; the message is
            LeRobot's.
    """
    import draccus
    from lerobot import cameras, robots
    from lerobot.utils.import_utils import register_third_party_plugins

    for package in (robots, cameras):  # importing a module registers its robots
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
