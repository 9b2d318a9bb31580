"""Imports robosuite quietly, with an OpenGL that works here, and makes its environments; used by the whole package."""

import logging
from copy import deepcopy
from typing import Any

from paradp.envs.rendering import choose_gl
from paradp.envs.robosuite_task import RobosuiteTask


def import_robosuite() -> Any:
    """Imports robosuite and returns the module."""
    # MuJoCo reads its variable when it is imported, and robosuite overwrites it.
    choose_gl()
    # robosuite logs an advertisement on import and its configuration on every construction.
    logging.getLogger("robosuite_logs").addFilter(_only_errors)
    import mujoco  # noqa: F401
    import robosuite

    return robosuite


def _only_errors(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


def make_robosuite(task: RobosuiteTask, controller_options: dict[str, object]) -> Any:
    """Makes robosuite's own environment of a task, without its observations and renderers.

    Args:
        task: the task's definition.
        controller_options: settings of each arm's controller besides its gains.
    """
    robosuite = import_robosuite()
    config = robosuite.load_composite_controller_config(controller="BASIC", robot="Panda")
    config["body_parts"]["right"] |= {
        **task.controller,
        **controller_options,
    }
    return robosuite.make(
        task.robosuite_name,
        robots=["Panda"] * len(task.hands),
        controller_configs=[deepcopy(config) for _ in task.hands],
        control_freq=task.control_hz,
        has_renderer=False,
        has_offscreen_renderer=False,
        use_camera_obs=False,
        hard_reset=False,
        ignore_done=True,
        reward_shaping=False,
        seed=0,
    )
