"""Names and describes the quantities in other programs' data sets, from the data and the `paradp.yaml` beside them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paradp.bridges.fact_fields import AS_RECORDED, Facts, MissingFacts, facts_file
from paradp.policy.data.episode import DemonstrationInfo
from paradp.policy.features import Shape

# For each key of the data set: the quantities in a vector with their lengths, or an image's name.
Parts = dict[str, str | dict[str, int]]


def parts_of(path: Path, shapes: Mapping[str, tuple[int, ...]], facts: Facts) -> Parts:
    """Returns the quantities in each observed array, in order.

    Args:
        path: the data set, for messages.
        shapes: key → `(n,)` of a vector, or height, width and channels of an image.
        facts: the names of the quantities.

    Raises:
        ValueError: the facts do not fit the data.
    """
    given = dict(facts.observation or {})
    parts: Parts = {}
    for key, shape in shapes.items():
        said = given.pop(key, key)
        if len(shape) == 1:
            said = {said: shape[0]} if isinstance(said, str) else said
            if sum(said.values()) != shape[0]:
                raise ValueError(f"{path}: the parts of {key!r}, {said}, must have {shape[0]} numbers in total")
        elif not isinstance(said, str):
            raise ValueError(f"{path}: {key!r} is an image, which has one name and no parts")
        parts[key] = said
    if given:
        raise ValueError(
            f"{facts_file(path)} names {min(given)!r:.80}, which is not observed; there are {', '.join(shapes)}"
        )
    names = [name for said in parts.values() for name in ([said] if isinstance(said, str) else said)]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{facts_file(path)} names {min(doubled)!r:.80} twice")
    return parts


def named(parts: Parts, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Splits vectors into our quantities and renames images."""
    found: dict[str, np.ndarray] = {}
    for key, said in parts.items():
        if isinstance(said, str):
            found[said] = arrays[key]
            continue
        ends = np.cumsum(list(said.values()))[:-1]
        found |= zip(said, map(np.ascontiguousarray, np.split(arrays[key], ends, axis=-1)), strict=True)
    return found


# Long: half of it is documentation.
def info_of(
    path: Path,
    parts: Parts,
    shapes: Mapping[str, tuple[int, ...]],
    action: tuple[str, int],
    facts: Facts,
    made_with: Mapping[str, Any],
) -> DemonstrationInfo:
    """Returns the description of a data set for training.

    Args:
        path: the data set, for messages.
        parts, shapes: see `parts_of`.
        action: key and length of an action.
        facts: information that the data lack, including the control rate.
        made_with: the origin of the data.

    Raises:
        ValueError: a fact is missing or does not fit.
    """
    key, size = action
    _check_known(path, facts, size)
    # For the type checker: checked above.
    assert facts.task is not None and facts.action_low is not None and facts.action_high is not None
    assert facts.control_hz is not None
    quantities = facts.action or {key: size}
    if sum(quantities.values()) != size:
        raise ValueError(f"{path}: the parts of the action, {quantities}, must have {size} numbers in total")
    try:
        return DemonstrationInfo(
            facts.task,
            facts.action_convention or AS_RECORDED,
            _observation(parts, shapes),
            quantities,
            facts.action_low,
            facts.action_high,
            facts.control_hz,
            facts.controller or {},
            dict(made_with),
        )
    except ValueError as error:
        raise ValueError(f"{path} cannot be used: {error}") from error


def _check_known(path: Path, facts: Facts, size: int) -> None:
    missing = [*facts.lacking(), *(["control_hz"] if facts.control_hz is None else [])]
    if missing:
        raise MissingFacts(path, missing, size)


def _observation(parts: Parts, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Shape]:
    found: dict[str, Shape] = {}
    for key, said in parts.items():
        if isinstance(said, str):
            height, width, channels = shapes[key]
            found[said] = (height, width, channels)
        else:
            found |= said
    return found
