"""Film strips: frames of an episode, which is simulated again from the actions that were kept of it."""

from dataclasses import replace

import numpy as np
import pandas as pd
from PIL import Image

from paradp.rollouts.environments import Scenery

FRAMES = 8
# Of a frame in a strip, pixels.
HEIGHT = 128


def film_strip(scenery: Scenery, seed: int, steps: pd.DataFrame) -> np.ndarray:
    """Some frames side by side, evenly spread from the first control step to the last, `[height, width · FRAMES, 3]`.

    An episode is its seed and its actions: simulated again, it is the same to the bit.

    Args:
        scenery: as in the run.
        seed: of the episode.
        steps: the run's table of control steps.
    """
    actions = np.array(steps[steps["seed"] == seed].sort_values("step")["action"].tolist(), np.float32)
    shown = set(np.linspace(0, len(actions) - 1, FRAMES).round().astype(int).tolist())
    env = replace(scenery, render=True).make()
    env.reset(seed=seed)
    frames = []
    for i, action in enumerate(actions):
        env.step(action)
        if i in shown:
            frames.append(_smaller(np.asarray(env.render())))
    env.close()
    return np.concatenate(frames, axis=1)


def _smaller(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    return np.asarray(Image.fromarray(frame).resize((round(width * HEIGHT / height), HEIGHT), Image.Resampling.BOX))
