"""Hostile files of every kind that is read: each is refused with a sentence, or read; no code in it is executed."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from torture import world as worlds
from torture.amounts import Amounts
from torture.mutations import DEVICE, Trap, spoil
from torture.opening import MOST_MB, MOST_SECONDS
from torture.specimens import KINDS, SECRET
from torture.tally import Tally
from torture.world import World

# Demonstrations, recordings and checkpoints are what one gets from others.
WEIGHTS = {"demonstrations": 4, "recordings.hdf5": 3, "checkpoint": 3, "evaluation": 2, "training": 2}
SENTENCE_LENGTH = 600


def attack(world: World, amounts: Amounts, rng: random.Random, tally: Tally, done: Callable[[], None]) -> None:
    trap = Trap(world.folder / "canary", world.folder / "outside" / "numbers")
    trap.outside.parent.mkdir(exist_ok=True)
    trap.outside.write_bytes(np.full(50_000, SECRET, np.float32).tobytes())
    kinds = [kind for kind in KINDS for _ in range(WEIGHTS.get(kind, 1))]
    with _Opener(world) as opener:
        for kind in KINDS:
            _try(kind, world, None, trap, opener, tally)
        for i in range(amounts.files):
            _try(kinds[i % len(kinds)], world, rng, trap, opener, tally)
            tally.count("hostile files")
            done()


def _try(kind: str, world: World, rng: random.Random | None, trap: Trap, opener: "_Opener", tally: Tally) -> None:
    """One file; without a generator a valid one."""
    path = world.folder / "tried" / kind
    shutil.rmtree(path.parent, ignore_errors=True)
    path.parent.mkdir()
    KINDS[kind].make(world, path)
    what = f"{kind}, {spoil(path, rng, trap)}" if rng else f"{kind}, sound"
    answer = opener.open(kind, path)
    tally.count(f"files {answer['outcome']}")
    if rng is None and answer["outcome"] != "read":
        tally.fault("unexplained", f"{what}: {answer}")
    _judge(what, answer, tally)
    if not DEVICE.is_char_device():
        tally.fault("unsafe", f"{what}: a device was written over")
    if trap.canary.exists():
        tally.fault("executed", what)
        worlds.remove(trap.canary)


def _judge(what: str, answer: dict[str, Any], tally: Tally) -> None:
    why = answer["why"]
    if answer["megabytes"] > MOST_MB:
        tally.fault("oversized", f"{what}: {answer['megabytes']} MB")
    match answer["outcome"]:
        case "raised" if answer["type"] == "MemoryError":
            tally.fault("oversized", f"{what}: MemoryError")
        case "raised":
            tally.fault("unexplained", f"{what}: {answer['type']}: {why}")
        case "died" if why == "SIGALRM":
            tally.fault("oversized", f"{what}: not read in {MOST_SECONDS} seconds")
        case "died":
            tally.fault("unexplained", f"{what}: the process ended by {why}")
        case "leaked":
            tally.fault("executed", f"{what}: a link out of the file was followed")
        case "refused" if not why.strip() or "\n" in why.strip() or len(why) > SENTENCE_LENGTH:
            tally.fault("unexplained", f"{what}: no sentence: {why!r}")


class _Opener:
    """The process that opens files."""

    def __init__(self, world: World) -> None:
        self._root = world.folder.parent

    def __enter__(self) -> "_Opener":
        command = [sys.executable, "-m", "torture.opening", str(self._root)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._line()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def open(self, kind: str, path: Path) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"kind": kind, "path": str(path)}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        if line := self._process.stdout.readline():
            return line
        raise RuntimeError("the process that opens files has died")
