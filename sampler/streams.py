"""Named random streams: the independent random numbers of an episode, all derived from its seed.

| name | used for |
| --- | --- |
| `environment` | the scene: robosuite's and gymnasium's generators |
| `expert` | a scripted expert's choices, tremor and noise |
| `disturbance` | time and kind of the disturbance of the task's object |
| `noise` | sampling: the seeds of single plans, and their noise (`noise_generator`) |
| `clock` | start index in a file of recorded latencies |

The first three are derived as in the first published results, and must not change. Environments derive theirs without this
file; a test compares the two. All others are children of the seed (`SeedSequence` spawn keys), which no other seed below
2¹²⁸ can repeat. To add a stream, add its name and the next number here.

Episodes must have seeds below 2³²: with larger ones, a scene would get the numbers of an expert with a smaller seed.
"""

from typing import Literal

import numpy as np

EPISODE_SEEDS = 2**32
Name = Literal["environment", "expert", "disturbance", "noise", "clock"]

# Streams whose number follows the seed in the entropy, and streams whose number is a spawn key of the seed.
_BESIDE: dict[str, tuple[int, ...]] = {"environment": (), "expert": (1,), "disturbance": (2,)}
_CHILDREN: dict[str, int] = {"noise": 3, "clock": 4}


def check_episode_seeds(first: int, episodes: int) -> None:
    """Checks the seeds first, first + 1, … of the given number of episodes.

    Raises:
        ValueError: a seed is negative, or not below 2³².
    """
    if first < 0 or first + episodes > EPISODE_SEEDS:
        raise ValueError(f"episodes have seeds from 0 to 2^32 - 1: seed {first} and {episodes} episodes do not fit")


def seed_sequence(seed: int | None, name: Name) -> np.random.SeedSequence:
    """The seed sequence of a named stream; without a seed, from the system's entropy.

    Raises:
        ValueError: the seed is negative, or the name unknown.
    """
    if seed is not None and seed < 0:
        raise ValueError(f"a seed must be at least 0, not {seed}")
    if name in _CHILDREN:
        return np.random.SeedSequence(seed, spawn_key=(_CHILDREN[name],))
    if name not in _BESIDE:
        raise ValueError(f"unknown stream {name!r}; there are: {', '.join((*_BESIDE, *_CHILDREN))}")
    return np.random.SeedSequence(None if seed is None else [seed, *_BESIDE[name]])


def stream(seed: int | None, name: Name) -> np.random.Generator:
    """The generator of a named stream; without a seed, a different one in every call.

    Raises:
        ValueError: as `seed_sequence`.
    """
    return np.random.default_rng(seed_sequence(seed, name))
