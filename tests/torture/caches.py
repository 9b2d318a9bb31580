"""Caches that are damaged, cannot be written, or have two writers: a run gives the same results as without a cache."""

import random
from collections.abc import Callable
from pathlib import Path

from torture import world as worlds
from torture.amounts import Amounts
from torture.commands import Command, Outcome, commands, compare
from torture.mutations import Trap, spoil_bytes
from torture.tally import Tally
from torture.world import World

FAULTS = ("damaged", "damaged", "below a file", "by two")


def attack(world: World, amounts: Amounts, rng: random.Random, tally: Tally, done: Callable[[], None]) -> None:
    rollout = commands(world)["rollout"]
    # The engine that keeps the most in its cache.
    arguments = tuple("openvino" if argument == "eager" else argument for argument in rollout.arguments)
    attacks = _Attacks(Command(rollout.name, arguments, rollout.outcome, rollout.keys), world, rng, tally)
    for i in range(amounts.caches):
        attacks.run(FAULTS[i % len(FAULTS)])
        tally.count("caches")
        tally.count(f"caches {FAULTS[i % len(FAULTS)]}")
        done()


class _Attacks:
    def __init__(self, command: Command, world: World, rng: random.Random, tally: Tally) -> None:
        self._command, self._folder, self._rng, self._tally = command, world.folder, rng, tally
        self._log, self._cache = world.folder / "log.txt", world.folder / "cache"
        self._trap = Trap(world.folder / "canary", world.folder / "outside")
        self._expected: Outcome | None = None

    def run(self, fault: str) -> None:
        if self._expected is None:
            self._go("whole", self._cache)
            self._expected = self._command.outcome(self._folder / "whole")
            if not worlds.files_of(self._cache):
                raise RuntimeError("the cache is not used: there is nothing to attack")
        match fault:
            case "damaged":
                for file in sorted(path for path in self._cache.rglob("*") if path.is_file()):
                    spoil_bytes(file, self._rng, self._trap)
                self._judge("a damaged cache", self._cache)
                if self._trap.canary.exists():
                    self._tally.fault("executed", "a file in the cache")
                    worlds.remove(self._trap.canary)
                worlds.remove(self._cache)
                self._go("whole", self._cache)  # whole again
            case "below a file":
                (self._folder / "file").write_text("")
                self._judge("a cache that cannot be made", self._folder / "file" / "cache")
            case "by two":
                worlds.remove(self._folder / "shared")
                outs = [self._folder / "first", self._folder / "second"]
                logs = [self._folder / f"{out.name}.txt" for out in outs]
                for out in outs:
                    worlds.remove(out)
                processes = [
                    worlds.start(self._command.to(out), self._folder / "shared", log)
                    for out, log in zip(outs, logs, strict=True)
                ]
                for process, out, log in zip(processes, outs, logs, strict=True):
                    self._look(worlds.finish(process), out, log, "a cache written by two")

    def _judge(self, when: str, cache: Path) -> None:
        worlds.remove(self._folder / "out")
        self._look(self._go("out", cache), self._folder / "out", self._log, f"with {when}")

    def _look(self, code: int | None, out: Path, log: Path, when: str) -> None:
        if code != 0:
            self._tally.fault("unexplained", f"{self._command.name} {when}: exit {code}, {worlds.complaint(log)}")
            return
        assert self._expected is not None
        compare(self._command, out, self._expected, self._tally, when)

    def _go(self, out: str, cache: Path) -> int | None:
        worlds.remove(self._folder / out)
        return worlds.run(self._command.to(self._folder / out), cache, self._log)
