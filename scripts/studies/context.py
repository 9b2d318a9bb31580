"""The arguments that every study gets."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Context:
    """Where a study reads and writes.

    Attributes:
        task: the task's name.
        out: the folder for the page and its pictures.
        device: where to compute, of studies that measure devices.
        runs: a folder of finished rollouts, and of trainings, that a study may show as well.
        lerobot_python: the interpreter of an environment that has LeRobot.
    """

    task: str
    out: Path
    runs: Path
    device: str = "cpu"
    lerobot_python: Path | None = None
