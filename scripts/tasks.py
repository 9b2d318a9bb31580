"""`paradp tasks`: lists and describes the tasks."""

from typing import Annotated

import numpy as np
import tyro
from rich.table import Table

from paradp.checkpoints.finding import NOT_INSTALLED, pretrained
from paradp.envs import Task, all_tasks, find_convention, find_task
from paradp.policy.features import observed_features
from paradp.scripts.console import console


def tasks(name: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[TASK]")] = None) -> None:
    """List the tasks, or describe one.

        paradp tasks
        paradp tasks square

    Args:
        name: the task to describe.
    """
    if name is not None:
        return _describe(name)
    table = Table("task", "observation: values", "action: values", "succeeds when", "comes with", show_lines=True)
    for task, entry in all_tasks().items():
        actions = [find_convention(name) for name in entry.task.conventions]
        there = {"expert": entry.expert is not None, "weights": task in pretrained()}
        table.add_row(
            task,
            "\n".join([f"{', '.join(entry.task.things)}: {_values(entry.task)}", *_others(entry.task)]),
            "\n".join(f"{convention.name}: {sum(convention.parts.values())}" for convention in actions),
            entry.task.success_rule,
            "\n".join(name for name, comes in there.items() if comes) or "nothing",
        )
    console.print(table)


def _others(task: Task) -> list[str]:
    """The kinds of observations besides the first."""
    return [f"or {kind}" for kind in list(task.observations)[1:]]


def _values(task: Task) -> int:
    return sum(feature.size for feature in observed_features(task.observation).values())


def _describe(name: str) -> None:
    entry = find_task(name)
    task = entry.task
    console.print(f"{name}: {task.simulator}, gymnasium's {task.env_id}", highlight=False)
    console.print(f"succeeds when {task.success_rule}")
    rate = f"{task.simulated_hz:g} Hz"
    if task.simulated_hz != task.control_hz:
        rate += f" in the simulator ({task.control_hz} in checkpoints and in real time)"
    console.print(f"{rate}, at most {task.max_steps} control steps", highlight=False)
    expert = "none; see paradp data import" if entry.expert is None else entry.expert.__name__
    console.print(f"expert: {expert}; disturbances: {', '.join(task.disturbances) or 'none'}")
    console.print(f"weights: {_weights(name, entry.expert is not None)}")
    observation = Table("observation", "of", "values")
    for kind, features in task.observations.items():
        for i, (key, feature) in enumerate(observed_features(features).items()):
            observation.add_row(kind if i == 0 else "", key, " × ".join(map(str, feature.shape)))
    actions = Table("action convention", "quantity", "values", "least", "most")
    for convention in map(find_convention, task.conventions):
        first = 0
        for quantity, size in convention.parts.items():
            low, high = (_brief(limit[first : first + size]) for limit in (convention.low, convention.high))
            actions.add_row(convention.name if first == 0 else "", quantity, str(size), low, high)
            first += size
    console.print(observation, actions)


def _weights(name: str, expert: bool) -> str:
    known = pretrained()
    if not known:
        return NOT_INSTALLED
    if name in known:
        return f"see paradp info --checkpoint {name}"
    return f"none; see paradp {'collect' if expert else 'data import'} and paradp train"


def _brief(limits: np.ndarray) -> str:
    """Abbreviates equal numbers to one."""
    return ", ".join(f"{limit:g}" for limit in (limits[:1] if np.ptp(limits) == 0 else limits))
