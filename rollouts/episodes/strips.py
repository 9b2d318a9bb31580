"""Film strips: frames of an episode, which is simulated again from its stored actions."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
from PIL import Image

from paradp.envs import find_task
from paradp.rollouts.episodes.captions import WAITS, ChunkStrip, footed
from paradp.rollouts.episodes.environments import EnvironmentConfig
from paradp.rollouts.episodes.plan_record import read_plan_columns
from paradp.rollouts.episodes.records import StepRecord

FRAMES = 8
# Height of a frame in a strip, of a line of text below it, and of the line above the strip, in pixels.
HEIGHT = 128
LINE = 18
HEADLINE = 22


def film_strip(environment: EnvironmentConfig, seed: int, steps: pd.DataFrame, execute: int) -> np.ndarray:
    """Returns frames side by side, evenly spaced from the first control step to the last, `[height, width · FRAMES, 3]`.

    Below each frame are its time, the latency of its plan, and the index of its action in the chunk. Seed and actions
    determine an episode: the repeated simulation is the same to the bit.

    Args:
        environment: as in the run.
        seed: of the episode.
        steps: the run's table of control steps.
        execute: Ta, how many actions of a chunk are executed.
    """
    records = list(_records(steps[steps["seed"] == seed].sort_values("step")))
    shown = set(np.linspace(0, len(records) - 1, FRAMES).round().astype(int).tolist())
    control_hz = find_task(environment.task).task.control_hz
    env = replace(environment, render=True).make()
    env.reset(seed=seed)
    frames, chunk = [], ChunkStrip()
    for i, record in enumerate(records):
        env.step(np.array(record.action, np.float32))
        chunk.step(record)
        if i in shown:
            words = [f"{(i + 1) / control_hz:.1f} s", *_words(chunk, record, execute)]
            frames.append(footed(_smaller(np.asarray(env.render())), words, LINE))
    env.close()
    return np.concatenate(frames, axis=1)


def _records(steps: pd.DataFrame) -> Iterator[StepRecord]:
    for row in steps.to_dict("records"):
        outcome = (row["reward"], row["success"], row["seconds"])
        plan = read_plan_columns({str(name): value for name, value in row.items()})
        yield StepRecord(row["step"], *outcome, plan, tuple(row["action"]), row["held"])


def _words(chunk: ChunkStrip, record: StepRecord, execute: int) -> tuple[str, str]:
    """Describes the last plan's latency and the progress of its chunk."""
    if chunk.replan is None:
        return "", WAITS * record.held
    action = WAITS if record.held else f"action {chunk.next - chunk.begun} of {execute}"
    return f"plan {1000 * chunk.replan.stats.timing.seconds:.0f} ms", action


def _smaller(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    return np.asarray(Image.fromarray(frame).resize((round(width * HEIGHT / height), HEIGHT), Image.Resampling.BOX))
