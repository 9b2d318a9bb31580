"""Measures the frame rate of simulated cameras, and the time saved by rendering only the frames that a plan uses."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from pydantic import TypeAdapter

from paradp.envs import find_convention, find_task
from paradp.envs.pusht_env import make_board
from paradp.envs.task import IMAGE
from paradp.policy import Command, Horizons
from paradp.policy.files import write_whole
from paradp.policy.observations import Observation
from paradp.rollouts import run_episodes
from paradp.rollouts.episodes.environments import EnvironmentConfig, Environments, make_envs
from paradp.scripts.console import each
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.registry import study
from paradp.scripts.studies.turns import Ratio

TASKS = ("pusht", "lift")
REPEATS, FRAMES, STEPS = 7, 20, 40


@dataclass(frozen=True)
class FrameSpeed:
    """The median speed of rendering, for one environment on one core.

    Attributes:
        images: names of the rendered images.
        frames: frames per second, counting all images.
        state: control steps per second without images.
        looked_at: the same with the images that a plan uses.
        every: the same with all images.
        gain: time with `every`, divided by the time with `looked_at`.
    """

    images: str
    frames: float
    state: float
    looked_at: float
    every: float
    gain: Ratio


class _Still:
    """Holds the robot still, and uses images when a receding horizon would."""

    def __init__(self, hold: Callable[[np.ndarray | None, Observation], np.ndarray], horizons: Horizons):
        self._hold = hold
        self._horizons = horizons

    def reset(self, seed: int | None = None) -> None:
        self._step = 0
        self._action: np.ndarray | None = None

    def act(self, observation: Observation) -> Command:
        self._step += 1
        self._action = self._hold(self._action, observation)
        return Command(self._action)

    @property
    def looks(self) -> bool:
        return -self._step % self._horizons.execute < self._horizons.observe


@study
def study_frames(context: Context) -> None:
    """Writes OUT/frames.md and frames.json, of PushT and Lift."""
    speeds = {name: _speed(name) for name in each("frames", list(TASKS))}
    board = make_board()
    board.reset(seed=0)
    gym_pusht = FRAMES / _seconds(board._render)
    write_report(context.out / "frames.md", "Frames of cameras", _page(speeds, gym_pusht))
    write_whole(context.out / "frames.json", TypeAdapter(dict[str, FrameSpeed]).dump_json(speeds, indent=2) + b"\n")


def _page(speeds: dict[str, FrameSpeed], gym_pusht: float) -> str:
    horizons = Horizons()
    frames = [[name, one.images, f"{one.frames:.0f}"] for name, one in speeds.items()]
    loops = [
        [name, *(f"{rate:.0f}" for rate in (one.state, one.every, one.looked_at)), _text(one.gain)]
        for name, one in speeds.items()
    ]
    return f"""\
One environment, one thread, medians of {REPEATS} repeats of {FRAMES} frames. gym-pusht itself renders {gym_pusht:.0f} frames
a second.

{markdown_table(["task", "images", "frames a second"], frames)}

**In the loop**: control steps per second in an episode of {STEPS} steps in which the robot holds still, without the time of
plans; measured in turns, ratio with the middle half of the repeats. *Frames looked at*: only the {horizons.observe} of every
{horizons.execute} control steps that a plan uses; the episodes are the same.

{markdown_table(["task", "no images", "every frame", "frames looked at", "looked at / every"], loops)}"""


def _text(ratio: Ratio) -> str:
    return f"{ratio.median:.2f} ({ratio.low:.2f}–{ratio.high:.2f})"


def _speed(task: str) -> FrameSpeed:
    convention = find_task(task).task.conventions[0]
    kinds = [{}, {"observation": IMAGE, "drawn": False}, {"observation": IMAGE}]
    loops = [make_envs(EnvironmentConfig(task, convention, max_steps=STEPS, **kind), 1) for kind in kinds]  # type: ignore[arg-type]
    controller = _Still(find_convention(convention).hold, Horizons())
    for envs in loops:
        _episode(envs, controller)  # compiles, and makes renderers
    state, looked_at, every = np.array([[_episode(envs, controller) for envs in loops] for _ in range(REPEATS)]).T
    frames = _frames(loops[1])
    for envs in loops:
        envs.close()
    rates = [STEPS / float(np.median(times)) for times in (state, looked_at, every)]
    return FrameSpeed(*frames, rates[0], rates[1], rates[2], Ratio.of(every, looked_at))


def _frames(envs: Environments) -> tuple[str, float]:
    """Returns the names of an observation's images, and the number of them rendered per second."""
    draw = envs.envs[0].unwrapped.draw  # type: ignore[attr-defined]
    images = draw()
    return ", ".join(f"`{key}`" for key in images), len(images) * FRAMES / _seconds(draw)


def _episode(envs: Environments, controller: _Still) -> float:
    """Returns the seconds of each control step of an episode."""
    [episode] = run_episodes(envs, [controller], [0])
    assert len(episode.steps) == STEPS, "the robot was to hold still"
    return sum(step.simulation for step in episode.steps)


def _seconds(draw: Callable[[], object]) -> float:
    """Returns the median seconds of `FRAMES` renderings."""
    draw()
    times: list[float] = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        for _ in range(FRAMES):
            draw()
        times.append(time.perf_counter() - began)
    return float(np.median(times))
