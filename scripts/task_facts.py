"""The facts of a task that another program's checkpoint lacks, for messages."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from paradp.bridges.fact_fields import MissingFacts
from paradp.envs import Task, find_convention, find_task


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
        lines = _facts_of(find_task(task).task, error.size)
        raise MissingFacts(error.source, error.missing, error.size, error.otherwise, lines) from error


def _facts_of(task: Task, size: int) -> list[str]:
    """Lines of a file of facts; none if the task has no actions of this length, because its policies are others."""
    conventions = map(find_convention, task.conventions)
    convention = next((one for one in conventions if sum(one.parts.values()) == size), None)
    if convention is None:
        return []
    facts = {
        "task": task.name,
        "control_hz": task.control_hz,
        "action_convention": convention.name,
        "action": _mapping(convention.parts),
        "action_low": _numbers(convention.low),
        "action_high": _numbers(convention.high),
    }
    if task.controller:
        facts["controller"] = _mapping(task.controller)
    return [f"{name}: {value}" for name, value in facts.items()]


def _numbers(values: np.ndarray) -> str:
    """The float32 values in their shortest form, which is read as the same values."""
    return f"[{', '.join(str(value).removesuffix('.0') for value in values)}]"


def _mapping(values: Mapping[str, float]) -> str:
    return f"{{{', '.join(f'{name}: {value:g}' for name, value in values.items())}}}"
