"""Do the experts solve their tasks, and do they do it in more than one way?"""

from collections.abc import Sequence
from dataclasses import dataclass

import gymnasium
import numpy as np
from pydantic import TypeAdapter

from paradp.envs import ACTION_CONVENTIONS, ActionNoise, all_tasks, find_task
from paradp.policy.files import write_whole
from paradp.rollouts.collect import DEFAULT_ACTION_NOISE, Attempt, demonstrate
from paradp.rollouts.machine import cores
from paradp.rollouts.statistics import Estimate, wilson
from paradp.rollouts.workers import Workers
from paradp.scripts.console import each
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.registry import study

FIRST_SEED, EPISODES = 200_000, 50
SCENES, WAYS = 5, 8
MOMENTS = 50


@dataclass(frozen=True)
class Performance:
    """How an expert does: its success, and the control steps that it takes (median, least, most)."""

    success: Estimate
    steps: tuple[float, int, int]

    def cells(self) -> list[str]:
        low, high = self.success.ci95
        median, least, most = self.steps
        return [f"{self.success.mean:.2f} ({low:.2f}–{high:.2f})", f"{median:.0f} ({least}–{most})"]


@dataclass(frozen=True)
class ExpertFigures:
    """What was measured of a task's expert.

    Attributes:
        calm, shaken: without noise, and with that of `paradp collect`.
        spread: how far apart demonstrations of a scene send the robot, in `unit`.
        way: how long their way is, in `unit`.
    """

    calm: Performance
    shaken: Performance
    spread: float
    way: float
    unit: str


FIGURES = TypeAdapter(dict[str, ExpertFigures])


@study
def study_experts(context: Context) -> None:
    """Writes OUT/experts.md and experts.json, of every task that has an expert."""
    seeds = [(seed, seed) for seed in range(FIRST_SEED, FIRST_SEED + EPISODES)]
    ways = [(FIRST_SEED + scene, way) for scene in range(SCENES) for way in range(WAYS)]
    kinds = ((seeds, None), (seeds, DEFAULT_ACTION_NOISE), (ways, None))
    names = [name for name, entry in all_tasks().items() if entry.expert is not None]
    with Workers(cores()) as pool:
        pending = {name: [pool.submit(_demonstrate_all, name, *kind) for kind in kinds] for name in names}
        figures = {name: _figures(name, *(one.result() for one in pending[name])) for name in each("experts", names)}
    header = ["task", "success (95 %)", "steps, median (range)", "shaken: success", "steps", "spread", "of a way of"]
    rows = [
        [name, *one.calm.cells(), *one.shaken.cells(), f"{one.spread:.1f} {one.unit}", f"{one.way:.0f} {one.unit}"]
        for name, one in figures.items()
    ]
    body = f"""
{EPISODES} fresh episodes each (seeds from {FIRST_SEED}; demonstrations are collected from 1000000 on), without noise and
with that of `paradp collect`, which is injected into what the robot executes and not into what is learned (in every control
step {DEFAULT_ACTION_NOISE.noise} of a normalised action, and a push now and then). *Spread*: {WAYS} demonstrations of a
scene, {SCENES} scenes: how far apart they send the robot at the same share of their time, standard deviation, mean over time
and scenes, so that other timing counts as well as other ways; beside it, how long the way is on which they send it.

{markdown_table(header, rows)}
"""
    write_report(context.out / "experts.md", "Experts", body)
    write_whole(context.out / "experts.json", FIGURES.dump_json(figures, indent=2) + b"\n")


def _figures(task: str, calm: Sequence[Attempt], shaken: Sequence[Attempt], ways: Sequence[Attempt]) -> ExpertFigures:
    convention = ACTION_CONVENTIONS[find_task(task).task.conventions[0]]
    unit, scale = ("cm", 100.0) if convention.unit == "m" else (convention.unit, 1.0)
    spreads, lengths = [], []
    for scene in range(SCENES):
        paths = [convention.path(attempt.episode.executed) for attempt in ways[scene * WAYS : (scene + 1) * WAYS]]
        together = np.stack([_resampled(path) for path in paths])
        spreads.append(np.sqrt(together.var(0, ddof=1).sum(1)).mean())
        lengths.append(np.mean([np.linalg.norm(np.diff(path, axis=0), axis=1).sum() for path in paths]))
    spread, way = (scale * float(np.mean(values)) for values in (spreads, lengths))
    return ExpertFigures(_performance(calm), _performance(shaken), spread, way, unit)


def _performance(attempts: Sequence[Attempt]) -> Performance:
    steps = [len(attempt.episode.actions) for attempt in attempts]
    return Performance(
        wilson(sum(attempt.success for attempt in attempts), len(attempts)),
        (float(np.median(steps)), min(steps), max(steps)),
    )


def _resampled(path: np.ndarray) -> np.ndarray:
    """At as many moments as any other, `[MOMENTS, D]`."""
    there, wanted = np.linspace(0, 1, len(path)), np.linspace(0, 1, MOMENTS)
    return np.stack([np.interp(wanted, there, column) for column in path.T], axis=1)


def _demonstrate_all(task: str, seeds: Sequence[tuple[int, int]], action_noise: ActionNoise | None) -> list[Attempt]:
    """An episode for each seed of the scene and of the expert."""
    entry = all_tasks()[task]
    convention = entry.task.conventions[0]
    env, expert = gymnasium.make(entry.task.env_id), entry.demonstrator(convention, action_noise)
    attempts = [demonstrate(env, expert, scene, way) for scene, way in seeds]
    env.close()
    return attempts
