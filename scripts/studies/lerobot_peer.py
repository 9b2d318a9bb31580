"""Starts a study's process with LeRobot in LeRobot's interpreter, and sends it requests."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any

from paradp.policy.observations import Observation

# The rooms of paradp that the process imports; others need packages that LeRobot's environment lacks.
ROOMS = ("sampler", "policy", "bridges", "envs")


class LeRobotPeer:
    """A process with LeRobot, as a context manager.

    Args:
        python: path of its interpreter.
        job: see `paradp.scripts.studies.lerobot_half`; other programs need none.
    """

    program = "lerobot_half.py"

    def __init__(self, python: Path, job: dict[str, Any] | None = None):
        self._rooms = tempfile.TemporaryDirectory()
        package = Path(self._rooms.name) / "paradp"
        package.mkdir()
        for room in ROOMS:
            [place] = import_module(f"paradp.{room}").__path__
            (package / room).symlink_to(Path(place).resolve())
        environment = os.environ | {"PYTHONPATH": self._rooms.name, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        environment["HF_DATASETS_CACHE"] = str(Path(self._rooms.name) / "cache")
        self._process = subprocess.Popen(
            [python, Path(__file__).with_name(self.program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        if job is not None:
            self._send(job)

    def __enter__(self) -> "LeRobotPeer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._rooms.cleanup()

    def versions(self) -> dict[str, str]:
        """Returns the versions of the packages in the process."""
        found: dict[str, str] = self.ask("versions")
        return found

    def episodes(self, way: str, seeds: Sequence[int]) -> list[dict[str, Any]]:
        """Returns seed, reward, success and first observation of episodes that run in a batch."""
        found: list[dict[str, Any]] = self.ask("episodes", way=way, seeds=list(seeds))
        return found

    def plans(self, way: str, histories: list[Observation]) -> dict[str, list[float]]:
        """Returns the `seconds` of a plan at each history, and its `rounds` if it was sampled in place."""
        steps = [
            [{key: values[t].tolist() for key, values in one.items()} for t in range(len(next(iter(one.values()))))]
            for one in histories
        ]
        found: dict[str, list[float]] = self.ask("plans", way=way, histories=steps)
        return found

    def large(self, channels: Sequence[int]) -> dict[str, int]:
        """Makes LeRobot's network with other `channels` and random weights: its `parameters`, and the `window` that
        `parallelize` chooses for it."""
        found: dict[str, int] = self.ask("large", channels=list(channels))
        return found

    def calls(self, rows: Sequence[int], count: int, in_place: bool = False) -> list[float]:
        """Returns the median seconds of that network's calls, by LeRobot or in place, for each number of rows."""
        found: list[float] = self.ask("calls", rows=list(rows), count=count, in_place=in_place)
        return found

    def ask(self, what: str, **asked: Any) -> Any:
        """Calls a function in the process."""
        self._send({"do": what, **asked})
        assert self._process.stdout is not None
        if not (answer := self._process.stdout.readline()):
            raise ValueError(f"LeRobot's half ended with code {self._process.wait()}; see its output above")
        return json.loads(answer)

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            print(file=sys.stderr)
            raise ValueError(f"LeRobot's half ended with code {self._process.wait()}; see its output above") from None
