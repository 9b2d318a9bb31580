"""What the dimensions of an action or an observation are called."""

from collections.abc import Mapping

from paradp.envs import ACTION_CONVENTIONS

# Names of a quantity's entries, by how many there are; of others they are numbered.
ENTRIES = {1: ("",), 2: ("x", "y"), 3: ("x", "y", "z")}


def dimension_names(parts: Mapping[str, int]) -> list[str]:
    """Every dimension by name, with its unit where an action convention of paradp gives one: `goal_pos x (m)`."""
    units = {part: unit for convention in ACTION_CONVENTIONS.values() for part, unit in convention.units.items()}
    names = []
    for part, length in parts.items():
        entries = ENTRIES.get(length, tuple(str(i) for i in range(length)))
        unit = f"\n({units[part]})" if units.get(part) else ""
        names += [f"{part} {entry}".strip() + unit for entry in entries]
    return names
