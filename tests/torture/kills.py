"""Commands that are killed at random moments again and again, and continue until they are finished."""

import os
import random
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from torture import world as worlds
from torture.amounts import Amounts
from torture.commands import Command, Outcome, commands, compare, undisturbed
from torture.tally import Tally
from torture.world import World

# What is killed: the command itself mostly; one of its workers, as the kernel does where memory is short; or Ctrl-C.
WAYS = ("kill", "kill", "kill", "worker", "interrupt")
# A command that is killed this often before it is done is let through the next time.
MOST_IN_A_ROW = 4
# Time for children to notice that their parent is gone. Ray's agents first try for a minute to report it to a dead server.
CHILDREN_SECONDS, RAY_SECONDS = 20.0, 90.0


def attack(world: World, amounts: Amounts, rng: random.Random, tally: Tally, done: Callable[[], None]) -> None:
    kills = amounts.kills | {"evaluate on Ray": amounts.ray_kills}
    for name, count in kills.items():
        if count:
            _Attack(commands(world)[name], world, tally, rng, done).run(count)


class _Attack:
    """Attacks one command."""

    def __init__(self, command: Command, world: World, tally: Tally, rng: random.Random, done: Callable[[], None]) -> None:
        self._command, self._world, self._tally, self._rng, self._done = command, world, tally, rng, done
        self._folder = world.folder / command.name.replace(" ", "-")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._cache, self._log = world.folder / "cache", self._folder / "log.txt"
        self._on_ray = "ray" in command.arguments

    def run(self, count: int) -> None:
        _, expected, seconds = undisturbed(self._command, self._world)
        with ThreadPoolExecutor() as self._watching:
            self._watched: list[tuple[str, Future[list[int]]]] = []
            self._attack(count, seconds, expected)
        for way, left in self._watched:
            if left.result():
                self._tally.fault("left over", f"{self._command.name}, {way}: {len(left.result())} processes")

    def _attack(self, count: int, seconds: float, expected: Outcome) -> None:
        killed = 0
        while killed < count:
            out = self._folder / "killed"
            worlds.remove(out)
            in_a_row = 0
            while in_a_row < MOST_IN_A_ROW and killed < count:
                was_killed = self._disturbed(out, seconds)
                killed, in_a_row = killed + was_killed, in_a_row + was_killed
                if not was_killed:
                    break
            self._go_on(out, in_a_row, expected)

    def _disturbed(self, out: Path, seconds: float) -> bool:
        """Starts the command and kills it; returns whether it was still running."""
        way, moment = self._rng.choice(WAYS), self._rng.random()
        process = worlds.start(self._command.to(out), self._cache, self._log)
        worlds.wait_for_work(process, out)
        time.sleep(moment * seconds)
        if process.poll() is not None:
            return False
        way = self._strike(process.pid, way)
        code = worlds.finish(process)
        self._tally.count("kills")
        self._tally.count(f"kills of {self._command.name}")
        self._done()
        expected = {"kill": (-signal.SIGKILL,), "interrupt": (130, 0), "worker": (0,)}[way]
        if code not in expected and not (way == "worker" and worlds.is_a_sentence(code, self._log)):
            self._tally.fault("unexplained", f"{self._command.name}, {way}: exit {code}, {worlds.complaint(self._log)}")
        patience = RAY_SECONDS if self._on_ray else CHILDREN_SECONDS
        self._watched.append((way, self._watching.submit(worlds.left_over, process.pid, patience)))
        if not self._on_ray:  # which is meanwhile started again, as a user would
            self._watched[-1][1].result()
        return True

    def _strike(self, pid: int, way: str) -> str:
        """Kills a worker, or the command itself if there is no worker yet; returns which."""
        if way == "interrupt":
            # As a terminal does: everyone in the foreground gets it.
            os.killpg(pid, signal.SIGINT)
            return way
        workers = sorted(other for other in worlds.session_of(pid) if other != pid and _is_worker(other))
        if way == "worker" and workers:
            worlds.kill(self._rng.choice(workers))
            return way
        worlds.kill(pid)
        return "kill"

    def _go_on(self, out: Path, kills: int, expected: Outcome) -> None:
        code = worlds.run(self._command.to(out), self._cache, self._log)
        when = f"after {kills} kills"
        if code != 0:
            self._tally.fault("unexplained", f"{self._command.name} {when}: exit {code}, {worlds.complaint(self._log)}")
        compare(self._command, out, expected, self._tally, when)


def _is_worker(pid: int) -> bool:
    """Whether a process runs episodes; spawn starts a resource tracker, too."""
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
