"""The arguments of every study."""

from dataclasses import dataclass
from pathlib import Path

# After "policy", on pages of docs/results: the shipped policy may be replaced later.
SHIPPED = "shipped [at the time](README.md#which-policy)"


@dataclass(frozen=True)
class Context:
    """Inputs and outputs of a study.

    Attributes:
        task: the task's name.
        out: the folder for the page and its pictures.
        runs: a folder with finished rollouts and trainings, which some studies include.
        device: where to compute; only for studies that measure devices.
        lerobot_python: the interpreter of an environment that has LeRobot.
    """

    task: str
    out: Path
    runs: Path
    device: str = "cpu"
    lerobot_python: Path | None = None
