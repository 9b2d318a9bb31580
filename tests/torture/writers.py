"""Two processes that write one output: one of them gets an error, and the output is that of a single process."""

import random
from collections.abc import Callable

from torture import world as worlds
from torture.amounts import Amounts
from torture.commands import commands, compare, undisturbed
from torture.tally import Tally
from torture.world import World

NAMES = ("train", "collect", "rollout", "evaluate")


def attack(world: World, amounts: Amounts, rng: random.Random, tally: Tally, done: Callable[[], None]) -> None:
    cache = world.folder / "cache"
    for i in range(amounts.writers):
        command = commands(world)[NAMES[i % len(NAMES)]]
        _, expected, _ = undisturbed(command, world)
        out = world.folder / f"{command.name}-by-two"
        logs = [world.folder / f"{command.name}-{who}.txt" for who in ("first", "second", "again")]
        worlds.remove(out)
        processes = [worlds.start(command.to(out), cache, log) for log in logs[:2]]
        codes = [worlds.finish(process) for process in processes]
        tally.count("pairs of writers")
        for code, log in zip(codes, logs, strict=False):
            if code != 0 and not worlds.is_a_sentence(code, log):
                tally.fault("unexplained", f"{command.name} by two: exit {code}, {worlds.complaint(log)}")
        tally.count("writers refused", sum(code == 2 for code in codes))
        if 0 not in codes:
            tally.fault("unexplained", f"{command.name} by two: neither writes, {worlds.complaint(logs[0])}")
        if (code := worlds.run(command.to(out), cache, logs[2])) != 0:
            tally.fault("lost", f"{command.name} after two writers: exit {code}, {worlds.complaint(logs[2])}")
        compare(command, out, expected, tally, "by two writers")
        done()
