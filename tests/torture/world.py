"""Small inputs for attacks: demonstrations of PushT, a policy of 40 000 weights, and the commands that use them."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

PARADP = [sys.executable, "-c", "from paradp.scripts.main import main; main()"]
# A command that has not ended by then hangs.
HANGS_SECONDS = 300.0
OBSERVED = {"agent_pos": 2, "block_keypoints": 16}


@dataclass(frozen=True)
class World:
    """Paths of the inputs of attacks.

    Attributes:
        folder: a part's own, for whatever it makes.
        demonstrations: a zarr group.
        checkpoint: a policy trained on it for two steps.
    """

    folder: Path
    demonstrations: Path
    checkpoint: Path

    @classmethod
    def at(cls, root: Path, part: str = "world") -> "World":
        (root / part).mkdir(parents=True, exist_ok=True)
        return cls(root / part, root / "demonstrations.zarr", root / "trained" / "checkpoint")


def build(root: Path) -> None:
    """Makes the demonstrations and the policy."""
    from paradp.checkpoints import save_checkpoint
    from paradp.policy.data.demonstrations import Demonstrations
    from paradp.policy.learning.training import TrainingConfig, train
    from paradp.policy.networks.unet_config import UnetConfig
    from paradp.rollouts.collect import DEFAULT_ACTION_NOISE, describe

    world = World.at(root)
    there = Demonstrations.open_or_create(
        world.demonstrations, describe("pusht", "position", DEFAULT_ACTION_NOISE, 1_000_000)
    )
    for seed in range(4):
        there.append(straight_push(seed))
    config = TrainingConfig(steps=2, batch_size=8, network=UnetConfig(channels=(8, 16)), bf16=False)
    train(there, config, world.checkpoint.parent, lambda trained, path: save_checkpoint(trained, path, "a small policy"))


def straight_push(seed: int, steps: int = 40) -> Any:
    """A demonstration in which the pusher moves along a line, and the block stays."""
    from paradp.policy.data.episode import DemonstrationEpisode

    begin, end = np.random.default_rng(seed).uniform(50, 450, (2, 2))
    way = np.linspace(begin, end, steps).astype(np.float32)
    block = np.random.default_rng(seed).uniform(100, 400, 16).astype(np.float32)
    observed = {"agent_pos": way, "block_keypoints": np.repeat(block[None], steps, 0)}
    return DemonstrationEpisode(observed, way, way, 1_000_000 + seed)


def environment(cache: Path) -> dict[str, str]:
    """The environment of a command: one thread, so that two fit on the machine, and a separate cache."""
    ours = {"PARADP_CACHE": str(cache), "OMP_NUM_THREADS": "1", "COLUMNS": "200", "RAY_USAGE_STATS_ENABLED": "0"}
    return os.environ | ours


def start(arguments: list[str], cache: Path, log: Path) -> subprocess.Popen:
    """Starts a command in a separate session; its output goes to `log`."""
    with log.open("w") as file:
        return subprocess.Popen(
            [*PARADP, *arguments],
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment(cache),
            start_new_session=True,
        )


def finish(process: subprocess.Popen, seconds: float = HANGS_SECONDS) -> int | None:
    """The exit code; `None` if it hangs."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        end_all(process.pid)
        process.wait()
        return None


def run(arguments: list[str], cache: Path, log: Path) -> int | None:
    return finish(start(arguments, cache, log))


def complaint(log: Path) -> str:
    """The last line of a command's output."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def is_a_sentence(code: int | None, log: Path) -> bool:
    """Whether a command that cannot continue ended correctly: with exit code 2, and one line with the reason."""
    text = log.read_text(errors="replace")
    return code == 2 and "Traceback" not in text and complaint(log).startswith("paradp: ")


def session_of(pid: int) -> list[int]:
    """Processes of the session that `pid` began, with any parent; Ray's daemons leave it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == pid and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def left_over(pid: int, seconds: float) -> list[int]:
    """Waits for the processes of a session to end; kills and returns those that remain."""
    deadline = time.monotonic() + seconds
    while (there := session_of(pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for process in there:
        kill(process)
    return there


def end_all(pid: int) -> None:
    for process in session_of(pid):
        kill(process)


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def files_of(folder: Path) -> int:
    """The number of files in a folder, which shows progress."""
    return sum(1 for path in folder.rglob("*") if path.is_file()) if folder.exists() else 0


def wait_for_work(process: subprocess.Popen, out: Path) -> None:
    """Waits until a command has begun to write its output."""
    before, deadline = files_of(out), time.monotonic() + HANGS_SECONDS
    while process.poll() is None and files_of(out) <= before and time.monotonic() < deadline:
        time.sleep(0.02)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def random_of(seed: int, part: str) -> random.Random:
    return random.Random(f"{seed} {part}")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())
