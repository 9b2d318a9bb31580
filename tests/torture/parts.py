"""The attacks by name; `python -m torture.parts --part NAME` runs one and reports its progress."""

import argparse
import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic as now  # by name: an attack may set the clocks of `time`
from typing import Any

from torture.amounts import Amounts
from torture.tally import Tally
from torture.world import World, build, random_of

SAY_SECONDS = 0.3


@dataclass(frozen=True)
class Part:
    """An attack: the module's `attack(world, amounts, rng, tally, done)`, which calls `done` once for each of `total`.

    Attributes:
        total: how often that is.
        shown: the counts that say how much was tried.
    """

    total: Callable[[Amounts], int]
    shown: tuple[str, ...]

    def tried(self, counts: dict[str, int]) -> str:
        return ", ".join(f"{counts[name]} {name}" for name in self.shown if counts.get(name)) or "nothing"


PARTS = {
    "kills": Part(lambda amounts: sum(amounts.kills.values()) + amounts.ray_kills, ("kills",)),
    "writers": Part(lambda amounts: amounts.writers, ("pairs of writers",)),
    "disks": Part(lambda amounts: amounts.disks, ("full disks", "read-only disks")),
    "caches": Part(lambda amounts: amounts.caches, ("caches",)),
    "files": Part(lambda amounts: amounts.files, ("hostile files",)),
    "messages": Part(lambda amounts: amounts.messages, ("messages",)),
    "control": Part(lambda amounts: amounts.steps + amounts.planners, ("control steps", "killed planners")),
    "restarts": Part(lambda amounts: amounts.restarts, ("restarts", "plans asked for")),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--build", action="store_true")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    if options.build:
        build(options.work)
        return
    tally, made, said = Tally(), 0, 0.0

    def done() -> None:
        nonlocal made, said
        made += 1
        if now() > said + SAY_SECONDS:
            said = now()
            _say({"done": made})

    module = importlib.import_module(f"torture.{options.part}")
    world = World.at(options.work, options.part)
    module.attack(world, Amounts.of(options.minutes), random_of(options.seed, options.part), tally, done)
    _say({"done": made} | tally.as_json())


def _say(what: dict[str, Any]) -> None:
    print(json.dumps({"torture": what}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
