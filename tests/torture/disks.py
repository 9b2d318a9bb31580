"""Disks that are full or read-only: an error in one sentence, and the work continues once there is space."""

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torture import world as worlds
from torture.amounts import Amounts
from torture.commands import Command, commands, compare, undisturbed
from torture.tally import Tally
from torture.world import World

NAMES = ("train", "collect", "rollout", "evaluate")
# Kilobytes: none of the outputs fits the smallest, all fit the largest.
SIZES_KB = (40, 120, 300, 700, 1500)
LARGE_KB = 100_000


def attack(world: World, amounts: Amounts, rng: random.Random, tally: Tally, done: Callable[[], None]) -> None:
    attacks = _Attacks(world, tally)
    if not attacks.mounts:
        tally.note("read-only and full disks need the right to mount; files that may not grow stood for full ones")
    for i in range(amounts.disks):
        command = commands(world)[NAMES[i // 2 % len(NAMES)]]
        if i % 2 and attacks.mounts:
            attacks.read_only(command)
        else:
            attacks.full(command, rng.choice(SIZES_KB))
        done()


class _Attacks:
    def __init__(self, world: World, tally: Tally) -> None:
        self._world, self._tally = world, tally
        self._cache, self._log = world.folder / "cache", world.folder / "log.txt"
        self.mounts = _can_mount(world.folder / "probe")

    def read_only(self, command: Command) -> None:
        with _disk(self._world.folder / "read-only", LARGE_KB) as disk:
            _remount(disk, "ro")
            code = worlds.run(command.to(disk / "out"), self._cache, self._log)
            self._tally.count("read-only disks")
            if not worlds.is_a_sentence(code, self._log):
                self._unexplained(f"{command.name} on a read-only disk", code)

    def full(self, command: Command, kilobytes: int) -> None:
        self._tally.count("full disks")
        if not self.mounts:
            out = self._world.folder / "full"
            worlds.remove(out)
            code = worlds.finish(_start_limited(command.to(out), kilobytes, self._cache, self._log))
            self._go_on(command, out, code, kilobytes)
            return
        with _disk(self._world.folder / "full", kilobytes) as disk:
            code = worlds.run(command.to(disk / "out"), self._cache, self._log)
            _remount(disk, f"size={LARGE_KB}k")
            self._go_on(command, disk / "out", code, kilobytes)

    def _go_on(self, command: Command, out: Path, code: int | None, kilobytes: int) -> None:
        """Checks the error on a full disk, then continues the command with enough space."""
        when = f"after a full disk of {kilobytes} kB"
        self._tally.count("disks that were too small", code != 0)
        if code != 0 and not worlds.is_a_sentence(code, self._log):
            self._unexplained(f"{command.name} on a full disk of {kilobytes} kB", code)
        if (code := worlds.run(command.to(out), self._cache, self._log)) != 0:
            self._tally.fault("lost", f"{command.name} {when}: exit {code}, {worlds.complaint(self._log)}")
        compare(command, out, undisturbed(command, self._world)[1], self._tally, when)

    def _unexplained(self, what: str, code: int | None) -> None:
        self._tally.fault("unexplained", f"{what}: exit {code}, {worlds.complaint(self._log)}")


@contextmanager
def _disk(path: Path, kilobytes: int) -> Iterator[Path]:
    """A separate disk in memory."""
    path.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(path)], check=True, capture_output=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def _remount(path: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", str(path)], check=True, capture_output=True)


def _can_mount(path: Path) -> bool:
    if os.geteuid() != 0:
        return False
    try:
        with _disk(path, 100):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def _start_limited(arguments: list[str], kilobytes: int, cache: Path, log: Path) -> subprocess.Popen:
    """A command with a limit on the size of its files."""
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({1024 * kilobytes},) * 2); "
    with log.open("w") as file:
        return subprocess.Popen(
            [sys.executable, "-c", limit + worlds.PARADP[2], *arguments],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=worlds.environment(cache),
            start_new_session=True,
        )
