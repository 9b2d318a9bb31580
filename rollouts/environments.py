"""Environments for the loop: gymnasium's vector env, with places that can sit out."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from paradp.envs import ACTION_CONVENTIONS, find_task
from paradp.policy import PolicySpec


class Parkable(gymnasium.Wrapper):
    """Sits out after `reset(options={"parked": mask})` with its place set: its steps cost nothing until it is next reset.

    A vector env steps all of its environments, also when there are fewer episodes left than environments.

    Args:
        env: the environment.
        place: its index in the vector env.
    """

    def __init__(self, env: gymnasium.Env, place: int):
        super().__init__(env)
        self._place = place
        self._parked = False
        self._idle = {key: np.zeros(space.shape, space.dtype) for key, space in env.observation_space.spaces.items()}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        self._parked = bool(options and options["parked"][self._place])
        if self._parked:
            return self._idle, {"success": False}
        return self.env.reset(seed=seed)

    def step(self, action: Any):
        if self._parked:
            return self._idle, 0.0, False, False, {"success": False}
        return self.env.step(action)


@dataclass(frozen=True)
class Scenery:
    """Which environments.

    Attributes:
        task: the task's name.
        action_convention: what actions mean, see `paradp.envs.actions`.
        disturbance: what happens to the task's object meanwhile, see `paradp.envs.disturbances`.
        max_steps: control steps until an episode is truncated; the task's own number by default.
        render: whether they can be filmed.
    """

    task: str
    action_convention: str = "absolute"
    disturbance: str | None = None
    max_steps: int | None = None
    render: bool = False

    def make(self) -> gymnasium.Env:
        """One environment.

        Raises:
            ValueError: task or disturbance are unknown.
        """
        return gymnasium.make(
            find_task(self.task).task.env_id,
            max_episode_steps=self.max_steps,
            action_convention=self.action_convention,
            disturbance=self.disturbance,
            render_mode="rgb_array" if self.render else None,
        )


def make_envs(scenery: Scenery, count: int) -> SyncVectorEnv:
    """`count` environments in this process, reset only when told to (`AutoresetMode.DISABLED`).

    Raises:
        ValueError: task or disturbance are unknown.
    """
    places = [partial(lambda place: Parkable(scenery.make(), place), place) for place in range(count)]
    return SyncVectorEnv(places, copy=False, autoreset_mode=AutoresetMode.DISABLED)


def check_fits(spec: PolicySpec, task: str) -> None:
    """Checks that a policy was trained for a task as it is here.

    Raises:
        ValueError: the task, its observation, its actions, its control rate or its controller differ; the message says how.
    """
    wanted_task = find_task(task).task
    if spec.action_convention not in wanted_task.conventions:
        known = ", ".join(wanted_task.conventions)
        raise ValueError(f"the checkpoint's actions are {spec.action_convention!r}; the task {task!r} knows: {known}")
    convention = ACTION_CONVENTIONS[spec.action_convention]
    here = {
        "task": task,
        "observation": wanted_task.observation,
        "action": convention.parts,
        "control_hz": wanted_task.control_hz,
        "controller": wanted_task.controller,
    }
    for name, wanted in here.items():
        found = getattr(spec, name)
        same = list(found.items()) == list(wanted.items()) if isinstance(wanted, dict) else found == wanted
        if not same:  # also where only the order differs
            raise ValueError(f"the checkpoint does not fit the task {task!r}: its {name} is {found}, the task's is {wanted}")
    limits = np.array([spec.action_low, spec.action_high], np.float32)
    if not np.array_equal(limits, [convention.space.low, convention.space.high]):
        raise ValueError(f"the checkpoint does not fit the task {task!r}: its action limits differ from the environment's")
