"""Translates the features of another program's policy to the names and parts that the robot uses."""

from collections.abc import Mapping

from paradp.policy.features import Shape


def parts_of(key: str, size: int, parts: Mapping[str, int]) -> dict[str, int]:
    """Returns a vector's parts, in order.

    Raises:
        ValueError: their lengths do not sum to the vector's.
    """
    if sum(parts.values()) != size:
        raise ValueError(f"the parts of {key!r}, {dict(parts)}, must have {size} numbers in total")
    return dict(parts)


def observed_as(seen: Mapping[str, Shape], said: Mapping[str, str | Mapping[str, int]]) -> dict[str, Shape]:
    """Returns the observation of a policy under the robot's names.

    Args:
        seen: the policy's observed features, in its order.
        said: for each key the new name, or the parts of a vector; other features keep their names.

    Raises:
        ValueError: the policy has no such feature, a name occurs twice, an image has parts, or a vector's parts have
            another length.
    """
    if strange := said.keys() - seen.keys():
        raise ValueError(f"observation names {min(strange)!r:.80}, which the policy does not see; it sees {', '.join(seen)}")
    found: dict[str, Shape] = {}
    for key, shape in seen.items():
        name = said.get(key, key)
        if isinstance(name, str):
            parts: dict[str, Shape] = {name: shape}
        elif isinstance(shape, int):
            parts = dict(parts_of(key, shape, name))
        else:
            raise ValueError(f"observation: {key!r} is an image, which has one name and no parts")
        if doubled := found.keys() & parts.keys():
            raise ValueError(f"observation names {min(doubled)!r:.80} twice")
        found |= parts
    return found
