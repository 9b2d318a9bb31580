"""Imports robosuite quietly, with an OpenGL that exists here. All of this package imports it so."""

import logging
from typing import Any

from paradp.envs.rendering import choose_gl


def import_robosuite() -> Any:
    """The module."""
    # MuJoCo reads its variable when it is imported, and robosuite overwrites it.
    choose_gl()
    # robosuite logs an advertisement on import and its configuration on every construction.
    logging.getLogger("robosuite_logs").addFilter(_only_errors)
    import mujoco  # noqa: F401
    import robosuite

    return robosuite


def _only_errors(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR
