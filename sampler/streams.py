"""Random numbers by name: what an episode's seed means to each of those that draw from it.

| name | what draws from it |
| --- | --- |
| `environment` | the scene: robosuite's and gymnasium's generators |
| `expert` | a scripted expert's choices, tremor and noise |
| `disturbance` | when and how the task's object is disturbed |
| `noise` | what plans begin with: the seeds of single plans, and their noise (`noise_generator`) |
| `clock` | where in a file of recorded latencies an episode begins |

The first three have been drawn in these ways since the first published results, and stay as they are; environments make
them by themselves, and a test holds both to each other. All others are children of the seed, which no other seed below 2¹²⁸
can repeat. Something new gets a name, and the next number, here.

Episodes have seeds below 2³²: from there on, a scene's numbers would be those of an expert with a smaller seed.
"""

from typing import Literal

import numpy as np

EPISODE_SEEDS = 2**32
Name = Literal["environment", "expert", "disturbance", "noise", "clock"]

# After the seed as part of the entropy, or after it as its child.
_BESIDE: dict[str, tuple[int, ...]] = {"environment": (), "expert": (1,), "disturbance": (2,)}
_CHILDREN: dict[str, int] = {"noise": 3, "clock": 4}


def check_episode_seeds(first: int, episodes: int) -> None:
    """Checks the seeds of episodes that count up from the first.

    Raises:
        ValueError: one is negative, or not below 2³².
    """
    if first < 0 or first + episodes > EPISODE_SEEDS:
        raise ValueError(f"episodes have seeds from 0 to 2^32 - 1: seed {first} and {episodes} episodes do not fit")


def seed_sequence(seed: int | None, name: Name) -> np.random.SeedSequence:
    """Where a named stream comes from; without a seed, from the system's entropy.

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
    """The generator of a named stream; without a seed, one that is new every time.

    Raises:
        ValueError: as `seed_sequence`.
    """
    return np.random.default_rng(seed_sequence(seed, name))
