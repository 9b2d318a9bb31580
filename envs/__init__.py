"""Robot tasks as gymnasium environments, and scripted experts for them. Needs neither torch nor the rest of paradp.

Importing this package needs neither a simulator nor gymnasium. It registers `paradp/Square-v0`, `paradp/Lift-v0`, … with
gymnasium, whichever of the two is imported first:

    import gymnasium, paradp.envs
    env = gymnasium.make("paradp/Square-v0", action_convention="absolute", render_mode="rgb_array")

An object can be disturbed while the robot acts: `gymnasium.make("paradp/Square-v0", disturbance="belt")`.
"""

from typing import TYPE_CHECKING, Any

from paradp.envs.actions import ActionConvention, BoundedAction
from paradp.envs.conventions import ACTION_CONVENTIONS, find_convention, register_convention
from paradp.envs.disturbances import DISTURBANCES, find_disturbance
from paradp.envs.experts.expert import ActionNoise, Expert, ExpertCommand
from paradp.envs.experts.waypoints import ScriptedExpert, Variety
from paradp.envs.lookup import note_renamed
from paradp.envs.registry import TASKS, all_tasks, find_task, register
from paradp.envs.rendering import choose_gl, render_problem
from paradp.envs.robosuite_task import RobosuiteTask, TwoArmTask
from paradp.envs.task import Task, TaskEntry
from paradp.envs.tasks import ENTRIES

if TYPE_CHECKING:
    from paradp.envs.robosuite_env import RobosuiteEnv

__all__ = [
    "ACTION_CONVENTIONS",
    "DISTURBANCES",
    "TASKS",
    "ActionConvention",
    "ActionNoise",
    "BoundedAction",
    "Expert",
    "ExpertCommand",
    "RobosuiteEnv",
    "RobosuiteTask",
    "ScriptedExpert",
    "Task",
    "TaskEntry",
    "TwoArmTask",
    "Variety",
    "all_tasks",
    "choose_gl",
    "find_convention",
    "find_disturbance",
    "find_task",
    "register",
    "register_convention",
    "render_problem",
]

for _entry in ENTRIES:
    register(_entry)


def __getattr__(name: str) -> Any:
    """Imports `RobosuiteEnv` at its first use, because it needs gymnasium, and accepts an older name of `ActionNoise`."""
    if name == "Disturbance":
        note_renamed("paradp.envs.Disturbance", "ActionNoise")
        return ActionNoise
    if name != "RobosuiteEnv":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from paradp.envs.robosuite_env import RobosuiteEnv

    return RobosuiteEnv
