"""How many attacks of each kind, by the minutes that a run may take on two cores. Amounts depend on nothing else, so that
a seed stands for the same attacks on every machine."""

import math
from dataclasses import dataclass

# Below, what takes long by itself (all commands but train, Ray, the cache's compilers) is left out.
LONG_MINUTES = 10


@dataclass(frozen=True)
class Amounts:
    """Attacks of each kind.

    Attributes:
        kills: by command.
        ray_kills: of evaluations on Ray.
        writers: pairs of processes with one output.
        disks: disks that are full or read-only.
        files, messages, steps: hostile files, messages, control steps under faults.
        planners: planning processes that are killed.
        restarts: servers that are killed under load.
        caches: caches that are damaged, cannot be written or are written by two.
    """

    kills: dict[str, int]
    ray_kills: int
    writers: int
    disks: int
    files: int
    messages: int
    steps: int
    planners: int
    restarts: int
    caches: int

    @classmethod
    def of(cls, minutes: float) -> "Amounts":
        long = minutes >= LONG_MINUTES

        def per_minute(rate: float) -> int:
            return math.ceil(rate * minutes)

        return cls(
            kills={
                "evaluate": per_minute(2 / 3) if long else 0,
                "train": per_minute(1 / 4),
                "collect": per_minute(1 / 5) if long else 0,
                "rollout": per_minute(1 / 5) if long else 0,
            },
            ray_kills=per_minute(2 / 3) if long else 0,
            writers=per_minute(1 / 4),
            disks=per_minute(2 / 5) if long else 1,
            files=per_minute(25),
            messages=per_minute(400),
            steps=per_minute(10_000),
            planners=per_minute(1 / 6) if long else 0,
            restarts=per_minute(1 / 5),
            caches=per_minute(1 / 4) if long else 0,
        )
