"""Robot tasks as gymnasium environments, and scripted experts for them. Needs neither torch nor the rest of paradp.

Importing this package registers `paradp/Square-v0`, `paradp/Lift-v0`, …:

    import gymnasium, paradp.envs
    env = gymnasium.make("paradp/Square-v0", action_convention="absolute", render_mode="rgb_array")

An object can be disturbed while the robot acts: `gymnasium.make("paradp/Square-v0", disturbance="belt")`.
"""

import gymnasium

from paradp.envs.actions import ACTION_CONVENTIONS
from paradp.envs.disturbances import DISTURBANCES, find_disturbance
from paradp.envs.experts.expert import Disturbance, Expert, ExpertCommand
from paradp.envs.experts.waypoints import ScriptedExpert, Variety
from paradp.envs.robosuite_env import RobosuiteEnv, RobosuiteTask, can_render
from paradp.envs.task import Task
from paradp.envs.tasks import TASKS, find_task

__all__ = [
    "ACTION_CONVENTIONS",
    "DISTURBANCES",
    "TASKS",
    "Disturbance",
    "Expert",
    "ExpertCommand",
    "RobosuiteEnv",
    "RobosuiteTask",
    "ScriptedExpert",
    "Task",
    "Variety",
    "can_render",
    "find_disturbance",
    "find_task",
]

for _entry in TASKS.values():
    gymnasium.register(
        id=_entry.task.env_id,
        entry_point=_entry.task.entry_point,
        max_episode_steps=_entry.task.max_steps,
        kwargs={"task": _entry.task},
    )
