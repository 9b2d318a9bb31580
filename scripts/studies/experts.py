"""Do the experts solve their tasks, and do they do it in more than one way?"""

from collections.abc import Sequence
from dataclasses import dataclass

import gymnasium
import numpy as np

from paradp.envs import ACTION_CONVENTIONS, Disturbance, TaskEntry, all_tasks
from paradp.rollouts.collect import DEFAULT_DISTURBANCE
from paradp.rollouts.config import cores
from paradp.rollouts.statistics import wilson
from paradp.rollouts.workers import Workers
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.context import Context

FIRST_SEED, EPISODES = 200_000, 50
SCENES, WAYS = 5, 8
MOMENTS = 50


@dataclass(frozen=True)
class Demonstrated:
    """An expert's episode: whether it succeeded, control steps, and where it sent the robot, `[T, D]`."""

    success: bool
    steps: int
    path: np.ndarray


def study_experts(context: Context) -> None:
    """Writes OUT/experts.md, of every task that has an expert."""
    seeds = [(seed, seed) for seed in range(FIRST_SEED, FIRST_SEED + EPISODES)]
    ways = [(FIRST_SEED + scene, way) for scene in range(SCENES) for way in range(WAYS)]
    kinds = ((seeds, None), (seeds, DEFAULT_DISTURBANCE), (ways, None))
    entries = {name: entry for name, entry in all_tasks().items() if entry.expert is not None}
    with Workers(cores()) as pool:
        told = {name: [pool.submit(_demonstrate_all, name, *kind) for kind in kinds] for name in entries}
        rows = [[name, *_columns(entry, *(one.result() for one in told[name]))] for name, entry in entries.items()]
    header = ["task", "success (95 %)", "steps, median (range)", "shaken: success", "steps", "spread", "of a way of"]
    body = f"""
{EPISODES} fresh episodes each (seeds from {FIRST_SEED}; demonstrations are collected from 1000000 on), without noise and
with that of `paradp collect`, which is injected into what the robot executes and not into what is learned (in every control
step {DEFAULT_DISTURBANCE.noise} of a normalised action, and a push now and then). *Spread*: {WAYS} demonstrations of a
scene, {SCENES} scenes: how far apart they send the robot at the same share of their time, standard deviation, mean over time
and scenes; beside it, how long their way is.

{markdown_table(header, rows)}
"""
    write_report(context.out / "experts.md", "Experts", body)


def _columns(
    entry: TaskEntry, calm: Sequence[Demonstrated], shaken: Sequence[Demonstrated], ways: Sequence[Demonstrated]
) -> list[str]:
    unit, scale = ACTION_CONVENTIONS[entry.task.conventions[0]].unit, 1.0
    if unit == "m":
        unit, scale = "cm", 100.0
    spreads, lengths = [], []
    for scene in range(SCENES):
        paths = np.stack([_resampled(d.path) for d in ways[scene * WAYS : (scene + 1) * WAYS]])
        spreads.append(np.sqrt(paths.var(0, ddof=1).sum(1)).mean())
        lengths.append(np.linalg.norm(np.diff(paths, axis=1), axis=2).sum(1).mean())
    return [
        *_success_and_steps(calm),
        *_success_and_steps(shaken),
        f"{scale * np.mean(spreads):.1f} {unit}",
        f"{scale * np.mean(lengths):.0f} {unit}",
    ]


def _success_and_steps(episodes: Sequence[Demonstrated]) -> tuple[str, str]:
    rate = wilson(sum(d.success for d in episodes), len(episodes))
    steps = [d.steps for d in episodes]
    told = f"{rate.mean:.2f} ({rate.ci95[0]:.2f}–{rate.ci95[1]:.2f})"
    return told, f"{np.median(steps):.0f} ({min(steps)}–{max(steps)})"


def _resampled(path: np.ndarray) -> np.ndarray:
    """At as many moments as any other, `[MOMENTS, D]`."""
    there, wanted = np.linspace(0, 1, len(path)), np.linspace(0, 1, MOMENTS)
    return np.stack([np.interp(wanted, there, column) for column in path.T], axis=1)


def _demonstrate_all(task: str, seeds: Sequence[tuple[int, int]], disturbance: Disturbance | None) -> list[Demonstrated]:
    """An episode for each seed of the scene and of the expert."""
    entry = all_tasks()[task]
    convention = entry.task.conventions[0]
    env, expert = gymnasium.make(entry.task.env_id), entry.demonstrator(convention, disturbance)
    episodes = []
    for scene, way in seeds:
        observation, info = env.reset(seed=scene)
        expert.reset(way)
        actions, done = [], False
        while not done:
            command = expert.act(observation)
            actions.append(command.action)
            observation, _, terminated, truncated, info = env.step(command.action)
            done = terminated or truncated
        path = ACTION_CONVENTIONS[convention].path(np.stack(actions))
        episodes.append(Demonstrated(bool(info["success"]), len(actions), path))
    env.close()
    return episodes
