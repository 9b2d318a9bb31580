"""Is the policy a distribution, or one memorised path? Its plans beside the expert's, from the same scenes."""

from dataclasses import dataclass
from pathlib import Path

import gymnasium
import matplotlib
import numpy as np
import torch

from paradp.checkpoints import load_policy
from paradp.envs import find_task
from paradp.envs.rotations import matrix_to_rotvec, rotation_6d_to_matrix
from paradp.policy import DiffusionPolicy
from paradp.policy.observations import read_observation
from paradp.rollouts.collect import DEFAULT_DISTURBANCE
from paradp.rollouts.statistics import bootstrap
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.context import Context

matplotlib.use("Agg")
import matplotlib.pyplot as plt


@dataclass(frozen=True)
class Scene:
    """Chunks `[plans, Ta, A]` of the policy and of the expert from one first observation."""

    seed: int
    policy: np.ndarray
    expert: np.ndarray


def study_spread(context: Context, observations: int = 12, plans: int = 64, seed: int = 30_000) -> None:
    """Writes OUT/TASK-spread.md and its picture."""
    task, out = context.task, context.out
    policy = load_policy(task, "ddpm")
    if policy.spec.action_convention != "absolute":
        raise ValueError("the spread is measured on goal poses: it needs a policy with absolute actions")
    scenes = [_scene(policy, s, plans) for s in range(seed, seed + observations)]
    rows = []
    ratios: dict[str, list[float]] = {"position": [], "turn": []}
    for scene in scenes:
        spreads = [(_position_spread(c), _turn_spread(c)) for c in (scene.expert, scene.policy)]
        ratios["position"].append(spreads[1][0] / spreads[0][0])
        ratios["turn"].append(spreads[1][1] / spreads[0][1])
        (expert_mm, expert_deg), (policy_mm, policy_deg) = spreads
        rows.append([str(scene.seed), f"{expert_mm:.1f}", f"{policy_mm:.1f}", f"{expert_deg:.1f}", f"{policy_deg:.1f}"])
    estimates = {name: bootstrap(values) for name, values in ratios.items()}
    header = ["seed", "expert, mm", "policy, mm", "expert, degrees", "policy, degrees"]
    body = f"""
{plans} chunks of the shipped {task} policy (sequential DDPM, noise of its own each) and {plans} of the scripted expert (a
seed of its own each, with the disturbance of the demonstrations) from the first observation of {observations} episodes. The
spread is the root mean square distance to the mean chunk at the last executed step, of the goal's position and of its
rotation.

{markdown_table(header, rows)}

Policy over expert, mean over the observations with a 95 % bootstrap interval: position {estimates["position"].mean:.2f}
({estimates["position"].ci95[0]:.2f}–{estimates["position"].ci95[1]:.2f}), rotation {estimates["turn"].mean:.2f}
({estimates["turn"].ci95[0]:.2f}–{estimates["turn"].ci95[1]:.2f}). A policy that had memorised one path would be near 0.

![goal paths of expert and policy]({task}-spread.png)
"""
    write_report(out / f"{task}-spread.md", f"{task}: the policy is a distribution", body)
    _plot(scenes[:6], out / f"{task}-spread.png")


def _scene(policy: DiffusionPolicy, seed: int, plans: int) -> Scene:
    entry = find_task(policy.spec.task)
    env = gymnasium.make(entry.task.env_id, action_convention=policy.spec.action_convention)
    observation, _ = env.reset(seed=seed)
    history = np.stack([read_observation(policy.spec, observation)] * policy.spec.horizons.observe)
    planned = policy.plan(np.repeat(history[None], plans, 0), [torch.Generator().manual_seed(i) for i in range(plans)])
    expert = entry.demonstrator(policy.spec.action_convention, DEFAULT_DISTURBANCE)
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
    return Scene(seed, planned.actions[:, : policy.spec.horizons.execute], np.stack(chunks))


def _position_spread(chunks: np.ndarray) -> float:
    last = 1000 * chunks[:, -1, :3]
    return float(np.sqrt(((last - last.mean(0)) ** 2).sum(1).mean()))


def _turn_spread(chunks: np.ndarray) -> float:
    rotations = rotation_6d_to_matrix(chunks[:, -1, 3:9].astype(float))
    centre = rotation_6d_to_matrix(chunks[:, -1, 3:9].astype(float).mean(0))
    angles = [np.linalg.norm(matrix_to_rotvec(r @ centre.T)) for r in rotations]
    return float(np.degrees(np.sqrt(np.mean(np.square(angles)))))


def _plot(scenes: list[Scene], path: Path) -> None:
    figure, grid = plt.subplots(2, 3, figsize=(11, 7), layout="constrained")
    for axes, scene in zip(grid.flat, scenes, strict=True):
        for chunks, colour, label in ((scene.expert, "0.6", "expert"), (scene.policy, "C0", "policy")):
            for i, chunk in enumerate(chunks):
                axes.plot(*(100 * chunk[:, :2].T), color=colour, alpha=0.35, lw=0.9, label=label if i == 0 else None)
        axes.set(title=f"seed {scene.seed}", xlabel="x (cm)", ylabel="y (cm)", aspect="equal")
        axes.grid(alpha=0.3)
    grid.flat[0].legend()
    figure.suptitle("goal positions of the first chunk, from above: 64 plans of each from the same scene")
    figure.savefig(path, dpi=110)
    plt.close(figure)
