"""The metrics log of a training: a line after every few steps, without gaps or repetitions after an interruption."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from paradp.policy.files import write_whole
from paradp.policy.files.limits import METRICS_BYTES
from paradp.policy.files.reading import first_problem, parse_json, read_text
from paradp.policy.files.writing import naming_file


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class TrainingMetrics:
    """One line of the metrics log. Losses are mean squared errors of the prediction, per element.

    Attributes:
        step: optimiser steps taken.
        train_loss: mean since the line before.
        validation_loss: loss of the averaged network on the held-out episodes.
        learning_rate: learning rate of the next step.
        seconds: wall-clock time of the training so far, summed over its interruptions.
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
        kept = [metrics for metrics in _read_if_there(path) if metrics.step <= step]
        write_whole(path, "".join(map(_line, kept)).encode())
        self._seconds_before = kept[-1].seconds if kept else 0.0
        self._started = time.perf_counter()

    def write(self, step: int, train_loss: float, validation_loss: float, learning_rate: float) -> TrainingMetrics:
        seconds = self._seconds_before + time.perf_counter() - self._started
        metrics = TrainingMetrics(step, train_loss, validation_loss, learning_rate, seconds)
        with naming_file(self._path), self._path.open("a") as file:
            file.write(_line(metrics))
        return metrics


def read_metrics(path: Path) -> list[TrainingMetrics]:
    """Reads a metrics log, except for a last line that a kill or a full disk truncated.

    Raises:
        ValueError: the file is not a metrics log, is too large, or is not a regular file.
        OSError: it is missing or cannot be read.
    """
    lines = read_text(path, METRICS_BYTES).splitlines(keepends=True)
    try:
        # A training may have continued with an infinite validation loss.
        return [_METRICS.validate_python(parse_json(line, constants=True)) for line in lines if line.endswith("\n")]
    except ValidationError as error:
        raise ValueError(f"{path} is damaged: {first_problem(error)}; remove it to continue without it") from error
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}; remove it to continue without it") from error


_METRICS = TypeAdapter(TrainingMetrics)


def _read_if_there(path: Path) -> list[TrainingMetrics]:
    try:
        return read_metrics(path)
    except FileNotFoundError:
        return []


def _line(metrics: TrainingMetrics) -> str:
    return json.dumps(asdict(metrics)) + "\n"
