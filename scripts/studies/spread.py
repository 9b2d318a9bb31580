"""Checks that a policy is a distribution and not one memorised path: compares its plans with the expert's."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gymnasium
import numpy as np
import torch

from paradp.checkpoints import load_policy
from paradp.envs import find_convention, find_task
from paradp.envs.actions import AbsoluteAction, ActionConvention, PlaneAction
from paradp.envs.rotations import matrix_to_rotvec, rotation_6d_to_matrix
from paradp.policy import DiffusionPolicy
from paradp.policy.observations import read_observation, stack
from paradp.rollouts.collect import DEFAULT_ACTION_NOISE
from paradp.rollouts.statistics import bootstrap
from paradp.scripts.canvas import legend_below, panels, save
from paradp.scripts.console import each
from paradp.scripts.families import COLOURS
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.context import SHIPPED, Context
from paradp.scripts.studies.registry import study

# Millimetres read better than metres.
SHOWN = {"m": ("mm", 1000.0), "px": ("px", 1.0)}


@dataclass(frozen=True)
class ChunksOfScene:
    """Chunks `[plans, Ta, A]` of the policy and of the expert from one first observation."""

    seed: int
    policy: np.ndarray
    expert: np.ndarray


@dataclass(frozen=True)
class Quantity:
    """A quantity whose spread is measured: name, unit, and the function from chunks `[plans, Ta, A]` to the spread."""

    name: str
    unit: str
    spread: Callable[[np.ndarray], float]


@study
def study_spread(context: Context, observations: int = 12, plans: int = 64, seed: int = 30_000) -> None:
    """Writes OUT/TASK-spread.md and its picture."""
    task, out = context.task, context.out
    policy = load_policy(task, "ddpm")
    convention = find_convention(policy.spec.action_convention)
    quantities = _quantities(convention)
    scenes = [_scene(policy, s, plans) for s in each(f"{task}, seeds", range(seed, seed + observations))]
    spreads = {q.name: np.array([[q.spread(s.expert), q.spread(s.policy)] for s in scenes]) for q in quantities}
    header = ["seed", *(f"{who}, {q.unit}" for q in quantities for who in ("expert", "policy"))]
    rows = [
        [str(scene.seed), *(f"{spread:.1f}" for of in spreads.values() for spread in of[i])]
        for i, scene in enumerate(scenes)
    ]
    body = f"""
{plans} chunks of the {task} policy {SHIPPED} (sequential DDPM, each with its own noise) and {plans} of the scripted expert
(each with its own seed, and with the noise of the demonstrations) from the first observation of {observations} episodes. The
spread is the root mean square distance of the robot's goal at the last executed step to its mean.

{markdown_table(header, rows)}

Policy over expert, mean over the observations with a 95 % bootstrap interval: {_ratios(spreads)}. For a policy that has
memorised one path it would be near 0.

![goal paths of expert and policy]({task}-spread.png)
"""
    write_report(out / f"{task}-spread.md", f"{task}: the policy is a distribution", body)
    _plot(scenes[:6], convention, plans, out / f"{task}-spread.png")


def _quantities(convention: ActionConvention) -> list[Quantity]:
    """The quantities of an action convention with goal positions.

    Raises:
        ValueError: the actions of the convention are not goals.
    """
    if convention.name not in (PlaneAction.name, AbsoluteAction.name):
        raise ValueError(
            f"the spread is measured on goal positions: it needs a policy with such actions, not {convention.name}"
        )
    unit, scale = SHOWN[convention.unit]
    position = Quantity("position", unit, lambda chunks: scale * _position_spread(convention, chunks))
    return [position, Quantity("rotation", "degrees", _turn_spread)][: 1 + (convention.name == AbsoluteAction.name)]


def _ratios(spreads: dict[str, np.ndarray]) -> str:
    """The ratio of policy to expert for every quantity, from spreads `[scenes, (expert, policy)]`."""
    estimates = {name: bootstrap(list(of[:, 1] / of[:, 0])) for name, of in spreads.items()}
    return ", ".join(f"{name} {e.mean:.2f} ({e.ci95[0]:.2f}–{e.ci95[1]:.2f})" for name, e in estimates.items())


def _scene(policy: DiffusionPolicy, seed: int, plans: int) -> ChunksOfScene:
    entry = find_task(policy.spec.task)
    env = gymnasium.make(entry.task.env_id, action_convention=policy.spec.action_convention)
    observation, _ = env.reset(seed=seed)
    history = stack([read_observation(policy.spec, observation)] * policy.spec.horizons.observe)
    planned = policy.plan(stack([history] * plans), [torch.Generator().manual_seed(i) for i in range(plans)])
    expert = entry.demonstrator(policy.spec.action_convention, DEFAULT_ACTION_NOISE)
    chunks = []
    for i in range(plans):
        observation, _ = env.reset(seed=seed)
        expert.reset(i)
        labels = []
        for _ in range(policy.spec.horizons.execute):
            command = expert.act(observation)
            labels.append(command.label)
            observation, *_ = env.step(command.action)
        chunks.append(np.stack(labels))
    env.close()
    return ChunksOfScene(seed, planned.actions[:, : policy.spec.horizons.execute], np.stack(chunks))


def _position_spread(convention: ActionConvention, chunks: np.ndarray) -> float:
    last = np.stack([convention.path(chunk)[-1] for chunk in chunks])
    return float(np.sqrt(((last - last.mean(0)) ** 2).sum(1).mean()))


def _turn_spread(chunks: np.ndarray) -> float:
    rotations = rotation_6d_to_matrix(chunks[:, -1, 3:9].astype(float))
    centre = rotation_6d_to_matrix(chunks[:, -1, 3:9].astype(float).mean(0))
    angles = [np.linalg.norm(matrix_to_rotvec(r @ centre.T)) for r in rotations]
    return float(np.degrees(np.sqrt(np.mean(np.square(angles)))))


def _plot(scenes: list[ChunksOfScene], convention: ActionConvention, plans: int, path: Path) -> None:
    unit, scale = SHOWN[convention.unit]
    figure, axes_of = panels(3, 7.5, rows=2)
    for axes, scene in zip(axes_of, scenes, strict=True):
        for chunks, colour, label in ((scene.expert, COLOURS[6], "expert"), (scene.policy, COLOURS[0], "policy")):
            for i, chunk in enumerate(chunks):
                x, y = scale * convention.path(chunk)[:, :2].T
                axes.plot(x, y, color=colour, alpha=0.4, lw=0.9, label=label if i == 0 else None)
        axes.set(title=f"seed {scene.seed}", xlabel=f"x ({unit})", ylabel=f"y ({unit})")
        axes.set_aspect("equal", adjustable="datalim")
        axes.locator_params(nbins=5)
    figure.suptitle(f"goal positions of the first chunk, from above: {plans} plans of each from the same scene")
    legend_below(figure)
    for line in figure.legends[0].get_lines():
        line.set(alpha=1.0, linewidth=2.0)
    save(figure, path)
