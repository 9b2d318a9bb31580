"""An episode at a glance: a strip of frames."""

import imageio.v3 as iio
import numpy as np

from paradp.checkpoints import load_policy
from paradp.policy import RecedingHorizon
from paradp.rollouts import StepRecord, run_episodes
from paradp.rollouts.environments import Scenery, make_envs
from paradp.scripts.studies.context import Context

FRAMES = 6


class _Frames:
    """Keeps every picture of the loop."""

    def __init__(self) -> None:
        self.frames: list[np.ndarray] = []

    def on_step(self, seed: int, record: StepRecord, render) -> None:
        self.frames.append(render())

    def on_episode(self, episode) -> None:
        pass


def study_film(context: Context, seed: int = 50_000) -> None:
    """Writes OUT/TASK-film.png: one episode of the pretrained policy under ParaDDPM, evenly spaced in time."""
    task, out = context.task, context.out
    policy = load_policy(task, "para-ddpm")
    envs = make_envs(Scenery(task, policy.spec.action_convention, render=True), 1)
    recorder = _Frames()
    try:
        list(run_episodes(envs, [RecedingHorizon(policy)], [seed], [recorder]))
    finally:
        envs.close()
    chosen = np.linspace(0, len(recorder.frames) - 1, FRAMES).astype(int)
    out.mkdir(parents=True, exist_ok=True)
    iio.imwrite(out / f"{task}-film.png", np.concatenate([recorder.frames[i] for i in chosen], axis=1))
