"""From the features of another program's policy to the names and parts that robots have for them."""

from collections.abc import Mapping

from paradp.policy.features import Shape


def parts_of(key: str, size: int, parts: Mapping[str, int]) -> dict[str, int]:
    """A vector's parts, in order.

    Raises:
        ValueError: they have another length together.
    """
    if sum(parts.values()) != size:
        raise ValueError(f"the parts of {key!r}, {dict(parts)}, must have {size} numbers together")
    return dict(parts)


def observed_as(seen: Mapping[str, Shape], said: Mapping[str, str | Mapping[str, int]]) -> dict[str, Shape]:
    """The observation of a policy as robots have it.

    Args:
        seen: what the policy sees, in its order.
        said: for some of that the name, or of a vector the parts; what is not here keeps its name.

    Raises:
        ValueError: a name is not of the policy, or there twice; an image has parts; or a vector's have another length.
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
