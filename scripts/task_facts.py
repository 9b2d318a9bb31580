"""The facts of a task that another program's checkpoint lacks, for messages."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from paradp.bridges.fact_fields import MissingFacts
from paradp.envs import Task, find_convention, find_task
from paradp.envs.conventions import described


@contextmanager
def naming_facts_of(task: str | None) -> Iterator[None]:
    """Within this context, a message about missing facts contains those of the task.

    Args:
        task: the task on which a policy is to be run; `None` if it is none of paradp's.

    Raises:
        MissingFacts: with this message.
    """
    try:
        yield
    except MissingFacts as error:
        if task is None:
            raise
        example = _facts_of(find_task(task).task, error.missing, error.size)
        raise MissingFacts(error.source, error.missing, error.size, error.otherwise, example) from error


def _facts_of(task: Task, missing: Sequence[str], size: int) -> tuple[str, list[str]] | None:
    """A condition, and the lines of facts that hold under it; `None` if no actions of the task have this length."""
    conventions = map(find_convention, task.conventions)
    convention = next((one for one in conventions if sum(one.parts.values()) == size), None)
    if convention is None:
        return None
    facts = {
        "task": task.name,
        "control_hz": task.control_hz,
        "action_low": _numbers(convention.low),
        "action_high": _numbers(convention.high),
    }
    actions = described(convention.name, convention.parts)
    return f"which, if its actions are {task.name}'s {actions}, are", [f"{name}: {facts[name]}" for name in missing]


def _numbers(values: np.ndarray) -> str:
    """The float32 values in their shortest form, which is read as the same values."""
    return f"[{', '.join(str(value).removesuffix('.0') for value in values)}]"
