"""Renders one episode as a strip of frames."""

import imageio.v3 as iio
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from paradp.checkpoints import load_policy
from paradp.policy import RecedingHorizon
from paradp.rollouts import StepRecord, run_episodes
from paradp.rollouts.episodes.captions import headed
from paradp.rollouts.episodes.environments import EnvironmentConfig, make_envs
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.registry import study

FRAMES = 6
# Width and height of a frame, in pixels.
SIZE = 320
# Height of a line of text, in pixels.
LINE = 34
SAMPLER = "para-ddpm"


class _Frames:
    """Records a picture of every control step."""

    def __init__(self) -> None:
        self.frames: list[np.ndarray] = []

    def on_step(self, seed: int, record: StepRecord, render) -> None:
        self.frames.append(render())

    def on_episode(self, episode) -> None:
        pass


@study
def study_film(context: Context, seed: int = 50_000) -> None:
    """Writes OUT/TASK-film.png: one episode of the pretrained policy under ParaDDPM, evenly spaced in time."""
    task, out = context.task, context.out
    policy = load_policy(task, SAMPLER)
    envs = make_envs(EnvironmentConfig(task, policy.spec.action_convention, render=True), 1)
    recorder = _Frames()
    try:
        [episode] = run_episodes(envs, [RecedingHorizon(policy)], [seed], [recorder])
    finally:
        envs.close()
    chosen = np.linspace(0, len(recorder.frames) - 1, FRAMES).astype(int)
    shown = [_timed(recorder.frames[i], (i + 1) / policy.spec.control_hz) for i in chosen]
    out.mkdir(parents=True, exist_ok=True)
    seconds = np.median([step.replan.stats.timing.seconds for step in episode.steps if step.replan])
    title = f"{task} · {SAMPLER} · a plan {1000 * seconds:.0f} ms, {policy.spec.horizons.execute} actions of it executed"
    strip = headed(
        np.concatenate(shown, axis=1), title, f"seed {seed} · {'success' if episode.success else 'failure'}", LINE
    )
    iio.imwrite(out / f"{task}-film.png", strip)


def _timed(frame: np.ndarray, seconds: float) -> np.ndarray:
    """A frame, scaled down, with the time below it."""
    picture = Image.new("RGB", (SIZE, SIZE + 30), "white")
    picture.paste(Image.fromarray(frame).resize((SIZE, SIZE), Image.Resampling.LANCZOS))
    ImageDraw.Draw(picture).text((SIZE / 2, SIZE + 15), f"{seconds:.1f} s", "black", ImageFont.load_default(22), anchor="mm")
    return np.asarray(picture)
