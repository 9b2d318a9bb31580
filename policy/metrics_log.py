"""The log of a training: a line every some steps, the same lines whether the training was interrupted or not."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from paradp.policy.files import write_whole
from paradp.policy.files.writing import naming_file


@dataclass(frozen=True)
class TrainingMetrics:
    """One line of the metrics log: losses are mean squared errors of what is predicted, per element.

    Attributes:
        step: optimiser steps taken.
        train_loss: mean since the line before.
        validation_loss: of the averaged network on the held-out episodes.
        learning_rate: of the next step.
        seconds: wall-clock time of the training so far, over all of its processes.
    """

    step: int
    train_loss: float
    validation_loss: float
    learning_rate: float
    seconds: float


class MetricsLog:
    """`metrics.jsonl`, continued after the step that a resumed run starts from.

    Raises:
        ValueError: the file holds something else.
        OSError: it cannot be written.
    """

    def __init__(self, path: Path, step: int):
        self._path = path
        kept = [line for line in _lines(path) if json.loads(line)["step"] <= step]
        write_whole(path, "".join(kept).encode())
        self._seconds_before = json.loads(kept[-1])["seconds"] if kept else 0.0
        self._started = time.perf_counter()

    def write(self, step: int, train_loss: float, validation_loss: float, learning_rate: float) -> None:
        seconds = self._seconds_before + time.perf_counter() - self._started
        metrics = TrainingMetrics(step, train_loss, validation_loss, learning_rate, seconds)
        with naming_file(self._path), self._path.open("a") as file:
            file.write(json.dumps(asdict(metrics)) + "\n")


def _lines(path: Path) -> list[str]:
    """Whole ones; a kill or a full disk may have cut the last one short."""
    if not path.exists():
        return []
    try:
        lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        for line in lines:
            TrainingMetrics(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error}; remove it to go on without it") from error
    return lines
