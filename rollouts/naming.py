"""Names of directories made from what the user typed."""

import hashlib

# Less than the 255 bytes that file systems allow, to leave space for suffixes.
_LONGEST = 160


def short(name: str) -> str:
    """Returns a short name itself, or the beginning of a long one and its hash: a sampler with a grid can be long."""
    if len(name) <= _LONGEST:
        return name
    return f"{name[:_LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
