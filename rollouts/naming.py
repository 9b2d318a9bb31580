"""Names of directories that are made of what was typed."""

import hashlib

# Below what file systems take, 255 bytes, with room for endings.
_LONGEST = 160


def short(name: str) -> str:
    """The name itself, or the beginning of a long one and a digest of the whole: a sampler's grid can be long."""
    if len(name) <= _LONGEST:
        return name
    return f"{name[:_LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
