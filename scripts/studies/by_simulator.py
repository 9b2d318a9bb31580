"""Compares whole commands with robosuite's own control step and with the compiled one: time and outcomes."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from paradp.envs.simulators import COMPILED, ORIGINAL, VARIABLE
from paradp.policy.data.demonstrations import Demonstrations
from paradp.policy.files.tables import read_table
from paradp.scripts.studies.turns import Ratio

COMMANDS = {
    "collect": ("collect", "square", "--episodes", "40", "--seed", "310000", "--workers", "2"),
    "evaluate": ("evaluate", "square", "--samplers", "ddim-10", "--episodes", "40",
                 "--seed", "310000", "--workers", "2"),
}  # fmt: skip
REPEATS = 3


@dataclass(frozen=True)
class CommandCompared:
    """A command, run with both control steps in turns.

    Attributes:
        command: the command line, without `--out`.
        robosuite, ours: wall-clock seconds from the start of the process to its end, medians.
        ratio: robosuite's time over ours.
        outcomes: number of episodes.
        same: number of episodes with the same length and success in both.
    """

    command: str
    robosuite: float
    ours: float
    ratio: Ratio
    outcomes: int
    same: int


def compare_command(name: str) -> CommandCompared:
    """Runs a command with both control steps, `REPEATS` times in turns."""
    with tempfile.TemporaryDirectory() as folder:
        outs = [{which: Path(folder) / f"{which}-{i}" for which in (ORIGINAL, COMPILED)} for i in range(REPEATS)]
        times = np.array([[_run(COMMANDS[name], out, which) for which, out in pair.items()] for pair in outs])
        theirs, ours = (_outcomes(name, outs[0][which]) for which in (ORIGINAL, COMPILED))
    return CommandCompared(
        command=" ".join(("paradp", *COMMANDS[name])),
        robosuite=median(times[:, 0]),
        ours=median(times[:, 1]),
        ratio=Ratio.of(times[:, 0], times[:, 1]),
        outcomes=len(theirs),
        same=sum(ours.get(key) == value for key, value in theirs.items()),
    )


def _run(command: Sequence[str], out: Path, simulator: str) -> float:
    """Runs a command in another process; returns its duration in seconds."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", "from paradp.scripts.main import main; main()", *command, "--out", str(out)],
        env=os.environ | {VARIABLE: simulator},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - started


def _outcomes(name: str, out: Path) -> dict[tuple[object, ...], tuple[int, bool]]:
    """Length and success of every episode."""
    if name == "collect":
        demonstrations = Demonstrations.open(out)
        lengths = np.diff(demonstrations.episode_ends, prepend=0).tolist()
        return {(seed,): (length, True) for seed, length in zip(demonstrations.seeds.tolist(), lengths, strict=True)}
    outcomes: dict[tuple[object, ...], tuple[int, bool]] = {}
    columns = ("seed", "steps", "success")
    for path in out.glob("cells/*/episodes.parquet"):
        table = read_table(path, columns)
        for seed, steps, success in zip(*(table[name].tolist() for name in columns), strict=True):
            outcomes[path.parent.name, seed] = steps, success
    return outcomes
