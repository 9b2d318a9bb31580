"""Two implementations of robosuite's control step: robosuite itself, and compiled code with the same physics.

The compiled one is the default if it supports the robot, its controller and the versions. Otherwise robosuite's own is used,
and the log gives the reason. `PARADP_SIMULATOR=robosuite` always uses robosuite's own.
"""

import logging
import os
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from paradp.envs.success import Check, MakesCheck, by_robosuite

VARIABLE = "PARADP_SIMULATOR"
COMPILED, ORIGINAL = "compiled", "robosuite"
_LOG = logging.getLogger(__name__)


class Simulator(NamedTuple):
    """A simulation that has been reset.

    Attributes:
        step: makes one control step with a robosuite action, `[7]` for each arm.
        succeeds: whether the task's success rule holds now.
    """

    step: Callable[[np.ndarray], object]
    succeeds: Check


def asked_for(name: str | None = None) -> str:
    """Finds a simulator by name; by default the one in the environment variable, otherwise the compiled one.

    Raises:
        ValueError: the name is unknown.
    """
    wanted = name or os.environ.get(VARIABLE) or COMPILED
    if wanted not in (COMPILED, ORIGINAL):
        origin = "" if name else f"{VARIABLE}="
        raise ValueError(f"{origin}{wanted!r} is not a simulator; there are: {COMPILED}, {ORIGINAL}")
    return wanted


def choose(env: Any, name: str | None = None) -> str:
    """Chooses the simulator for a robosuite environment; argument and errors as for `asked_for`."""
    if asked_for(name) == ORIGINAL:
        return ORIGINAL
    from paradp.envs.compiled.step import find_problem, prepare

    if problem := find_problem(env):
        _tell(problem)
        return ORIGINAL
    prepare(env)
    return COMPILED


def begin(name: str, env: Any, check: MakesCheck) -> Simulator:
    """Connects a simulator to an environment; call it after every reset.

    Args:
        name: from `choose`.
        env: robosuite's environment.
        check: makes the task's check of success from arrays.
    """
    if name == ORIGINAL:
        return Simulator(env.step, by_robosuite(env))
    from paradp.envs.compiled.step import CompiledStep

    return Simulator(CompiledStep(env), check(env))


@cache
def _tell(problem: str) -> None:
    _LOG.warning("the compiled control step cannot be used: %s; using robosuite's own, which is slower", problem)
