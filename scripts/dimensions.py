"""Names of the dimensions of actions and observations."""

from collections.abc import Mapping

from paradp.envs import ACTION_CONVENTIONS

# Number of a quantity's entries → their names; other entries are numbered.
ENTRIES = {1: ("",), 2: ("x", "y"), 3: ("x", "y", "z")}


def dimension_names(parts: Mapping[str, int]) -> list[str]:
    """Names each dimension, with its unit if the action convention has one: `goal_pos x (m)`."""
    units = {part: unit for convention in ACTION_CONVENTIONS.values() for part, unit in convention.units.items()}
    names = []
    for part, length in parts.items():
        entries = ENTRIES.get(length, tuple(str(i) for i in range(length)))
        unit = f"\n({units[part]})" if units.get(part) else ""
        names += [f"{part} {entry}".strip() + unit for entry in entries]
    return names
