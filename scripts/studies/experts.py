"""Measures whether the scripted experts solve their tasks, and how much their demonstrations vary."""

from collections.abc import Sequence
from dataclasses import dataclass

import gymnasium
import numpy as np
from pydantic import TypeAdapter

from paradp.envs import ActionNoise, all_tasks, find_convention, find_task
from paradp.policy.features import observed_features
from paradp.policy.files import write_whole
from paradp.rollouts.collect import DEFAULT_ACTION_NOISE, Attempt, demonstrate
from paradp.rollouts.machine import cores
from paradp.rollouts.statistics import Estimate, wilson
from paradp.rollouts.workers import Workers
from paradp.scripts.console import each
from paradp.scripts.places import check_simulator
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.registry import study

FIRST_SEED, EPISODES = 200_000, 50
SCENES, WAYS = 5, 8
MOMENTS = 50


@dataclass(frozen=True)
class Performance:
    """The performance of an expert: success rate, and control steps (median, least, most)."""

    success: Estimate
    steps: tuple[float, int, int]

    def cells(self) -> list[str]:
        low, high = self.success.ci95
        median, least, most = self.steps
        return [f"{self.success.mean:.2f} ({low:.2f}–{high:.2f})", f"{median:.0f} ({least}–{most})"]


@dataclass(frozen=True)
class ExpertFigures:
    """The measurements of a task's expert.

    Attributes:
        calm, shaken: performance without noise, and with the noise of `paradp collect`.
        spread: standard deviation of the commanded positions over demonstrations of one scene, in `unit`.
        way: mean length of the commanded path, in `unit`.
        unit: unit of length.
    """

    calm: Performance
    shaken: Performance
    spread: float
    way: float
    unit: str


FIGURES = TypeAdapter(dict[str, ExpertFigures])


@study
def study_experts(context: Context) -> None:
    """Writes OUT/experts.md and experts.json, for every task with an expert."""
    seeds = [(seed, seed) for seed in range(FIRST_SEED, FIRST_SEED + EPISODES)]
    ways = [(FIRST_SEED + scene, way) for scene in range(SCENES) for way in range(WAYS)]
    kinds = ((seeds, None), (seeds, DEFAULT_ACTION_NOISE), (ways, None))
    names = [name for name, entry in all_tasks().items() if entry.expert is not None]
    for name in names:
        check_simulator(name)
    with Workers(cores()) as pool:
        pending = {name: [pool.submit(_demonstrate_all, name, *kind) for kind in kinds] for name in names}
        figures = {name: _figures(name, *(one.result() for one in pending[name])) for name in each("experts", names)}
    header = ["task", "success (95 %)", "steps, median (range)", "shaken: success", "steps", "spread", "of a way of"]
    rows = [
        [name, *one.calm.cells(), *one.shaken.cells(), f"{one.spread:.1f} {one.unit}", f"{one.way:.0f} {one.unit}"]
        for name, one in figures.items()
    ]
    body = f"""
{EPISODES} new episodes each (seeds from {FIRST_SEED}; demonstrations are collected from seed 1000000 on), without noise and
with the noise of `paradp collect`. That noise is added to the executed actions, but not to the labels for learning (in every
control step {DEFAULT_ACTION_NOISE.noise} of a normalised action, and an occasional push). *Spread*: standard deviation of
the commanded position over {WAYS} demonstrations of a scene at the same fraction of their duration, as a mean over time and
{SCENES} scenes; it includes differences in timing and in the path. Beside it is the length of the commanded path.

{markdown_table(header, rows)}
"""
    write_report(context.out / "experts.md", "Experts", body)
    write_whole(context.out / "experts.json", FIGURES.dump_json(figures, indent=2) + b"\n")


def _figures(task: str, calm: Sequence[Attempt], shaken: Sequence[Attempt], ways: Sequence[Attempt]) -> ExpertFigures:
    convention = find_convention(find_task(task).task.conventions[0])
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
    """The path at `MOMENTS` evenly spaced times, `[MOMENTS, D]`."""
    there, wanted = np.linspace(0, 1, len(path)), np.linspace(0, 1, MOMENTS)
    return np.stack([np.interp(wanted, there, column) for column in path.T], axis=1)


def _demonstrate_all(task: str, seeds: Sequence[tuple[int, int]], action_noise: ActionNoise | None) -> list[Attempt]:
    """Demonstrates an episode for each pair of a scene's seed and an expert's seed."""
    entry = all_tasks()[task]
    convention = entry.task.conventions[0]
    env, expert = gymnasium.make(entry.task.env_id), entry.demonstrator(convention, action_noise)
    features = observed_features(entry.task.observation)
    attempts = [demonstrate(env, expert, features, scene, way) for scene, way in seeds]
    env.close()
    return attempts
