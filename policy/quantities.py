"""Checks the sizes, order and limits of observations and actions."""

from collections.abc import Collection, Mapping, Sequence
from math import isfinite, prod

from paradp.policy.features import Shape
from paradp.policy.files.limits import KEY_BYTES, MOST_CONTROL_HZ, MOST_EDGE, MOST_KEYS, MOST_PIXELS, MOST_VALUES, within
from paradp.policy.wording import counted


def check_quantities(
    observation: Mapping[str, Shape],
    action: Mapping[str, int],
    action_low: Sequence[float],
    action_high: Sequence[float],
    control_hz: int,
    action_step: Sequence[float] | None = None,
) -> None:
    """Checks the declared observations and actions of a policy or of demonstrations.

    Args:
        observation: key → length, or height, width and channels of an image.
        action: quantity → length.
        action_low, action_high: limits of each action dimension.
        control_hz: control steps per second.
        action_step: largest step of each dimension; 0 if it never moves.

    Raises:
        ValueError: a value is missing, not finite, in the wrong order or of the wrong length, or outside the limits.
    """
    _check_keys("observation", observation)
    _check_sizes("observation", {key: shape for key, shape in observation.items() if isinstance(shape, int)})
    for key, shape in observation.items():
        if not isinstance(shape, int):
            _check_image(key, shape)
    _check_keys("action", action)
    _check_sizes("action", action)
    within("control_hz", control_hz, 1, MOST_CONTROL_HZ)
    size = sum(action.values())
    for name, values in (("action_low", action_low), ("action_high", action_high), ("action_step", action_step)):
        if values is not None:
            _check_values(name, values, size)
    for i, (low, high) in enumerate(zip(action_low, action_high, strict=True)):
        if not low < high:
            raise ValueError(f"action_low must be below action_high; in dimension {i} they are {low} and {high}")
    if action_step is not None and min(action_step) < 0:
        raise ValueError(f"action_step must not be negative: {tuple(action_step)}")


def _check_keys(what: str, keys: Collection[str]) -> None:
    within(f"the number of {what} keys", len(keys), 1, MOST_KEYS)
    for key in keys:
        if not 1 <= len(key.encode()) <= KEY_BYTES:
            raise ValueError(f"a key of the {what} must have 1 to {KEY_BYTES} bytes: {key!r:.100}")


def _check_sizes(what: str, sizes: Mapping[str, int]) -> None:
    for key, size in sizes.items():
        within(f"the length of {key!r}", size, 1, MOST_VALUES)
    within(f"the length of an {what}", sum(sizes.values()), 0, MOST_VALUES)


def _check_values(name: str, values: Sequence[float], size: int) -> None:
    if len(values) != size:
        raise ValueError(f"{name} has {counted(len(values), 'value')}, an action has {size}")
    if not all(map(isfinite, values)):
        raise ValueError(f"{name} must be finite: {tuple(values)}")


def _check_image(key: str, shape: Sequence[int]) -> None:
    if len(shape) != 3:
        raise ValueError(f"{key!r} must have a length, or height, width and channels; it has {list(shape)}")
    for edge, name in zip(shape, ("height", "width", "number of channels"), strict=True):
        within(f"the {name} of {key!r}", edge, 1, MOST_EDGE)
    within(f"the size of {key!r}", prod(shape), 1, MOST_PIXELS)
