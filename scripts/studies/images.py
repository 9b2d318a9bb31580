"""Measures an image policy: its episodes by sampler, and the latency of its encoder and of denoising on each engine."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from paradp.checkpoints import load_policy, read_card
from paradp.policy import DiffusionPolicy
from paradp.policy.observations import Observation, take
from paradp.rollouts.evaluation.comparison import ComparedRun, compare
from paradp.rollouts.evaluation.grid import cell_folder
from paradp.rollouts.expert_histories import expert_histories
from paradp.rollouts.statistics import interval, paired_bootstrap
from paradp.scripts.console import each
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.by_task import Rows, merged
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.registry import study

BASELINE = "ddpm"
SAMPLERS = (BASELINE, "speculative-ddpm:window=8", "ddim-10", "sde-dpm-solver-8:spacing=sine")
ENGINES = ("eager", "openvino")
EPISODES_HEADER = ["task", "sampler", "success (95 %)", "reward (95 %)", "reward − DDPM's (95 %)", "rounds", "evaluations"]
LATENCY_HEADER = ["task", "engine", "sampler", "encode, ms", "denoise, ms", "plan, ms", "encoder's share"]
TRAININGS_HEADER = ["task", "how it was trained"]
_COMMAND = "    paradp train"


@study
def study_images(context: Context, repeats: int = 15) -> None:
    """Writes OUT/images.md from the policy in RUNS/TASK-image/checkpoint and its episodes in RUNS/TASK-image/cells."""
    folder = context.runs / f"{context.task}-image"
    if not (folder / "checkpoint").is_dir():
        raise ValueError(
            f"an image policy is needed in {folder / 'checkpoint'}, with its episodes in {folder / 'cells'}:"
            f" paradp rollout {context.task} --checkpoint {folder / 'checkpoint'} --sampler {BASELINE} --out"
            f" {cell_folder(folder, BASELINE)}, and so on"
        )
    torch.set_num_threads(1)
    page = context.out / "images.md"
    episodes = _episodes(context.task, folder)
    latencies = _latencies(context.task, folder / "checkpoint", repeats)
    tables = merged([episodes, latencies, [[context.task, _trained(folder / "checkpoint")]]], page)
    body = f"""
## Episodes

Closed-loop episodes of policies that observe images, or images and the robot's own state; all samplers on the same seeds.
The last interval is that of the paired difference over the seeds.

{markdown_table(EPISODES_HEADER, tables[0])}

## Latency

One robot, one thread. The encoder runs once per plan, the U-Net once per evaluation. Medians of {repeats} plans at
observations of the scripted expert's episodes; all samplers of an engine take turns. *Encode* includes drawing the
plan's noise.

{markdown_table(LATENCY_HEADER, tables[1])}

The page [frames](frames.md) shows the time saved by rendering only the frames that a plan uses.

## The policies

{markdown_table(TRAININGS_HEADER, tables[2])}
"""
    write_report(page, "Policies with image observations", body)


def _episodes(task: str, folder: Path) -> Rows:
    paths = {name: cell_folder(folder, name) for name in SAMPLERS}
    found = {name: path for name, path in paths.items() if (path / "summary.json").exists()}
    if BASELINE not in found:
        raise ValueError(f"{paths[BASELINE]} holds no episodes of {BASELINE}, with which the others are compared")
    runs = compare(found).runs
    return [[task, f"`{run.sampler}`", *_cells(run, runs[0])] for run in runs]


def _cells(run: ComparedRun, baseline: ComparedRun) -> list[str]:
    said = run.summary
    difference = "baseline"
    if run is not baseline:
        # Both tables are in the order of the seeds, which are the same.
        difference = interval(paired_bootstrap(_rewards(run), _rewards(baseline)))
    cost = [f"{said.solver.rounds_mean:.1f}", f"{said.solver.evaluations_mean:.0f}"]
    return [f"{interval(said.success)}, n={said.episodes}", interval(said.reward), difference, *cost]


def _rewards(run: ComparedRun) -> list[float]:
    return list(run.episodes.sort_values("seed")["reward"])


def _latencies(task: str, checkpoint: Path, repeats: int) -> Rows:
    rows: Rows = []
    for engine in each("engines", list(ENGINES)):
        policies = [load_policy(checkpoint, name, engine=engine) for name in SAMPLERS]
        histories = expert_histories(policies[0].spec, repeats, seed=20_000)
        for name, (encode, denoise, whole) in zip(SAMPLERS, _time(policies, histories, repeats), strict=True):
            cells = [f"{1000 * encode:.1f}", f"{1000 * denoise:.1f}", f"{1000 * whole:.1f}", f"{100 * encode / whole:.0f} %"]
            rows.append([task, engine, f"`{name}`", *cells])
    return rows


def _time(policies: Sequence[DiffusionPolicy], histories: Observation, repeats: int) -> np.ndarray:
    """Median seconds of encoding, denoising and the whole plan, `[policies, 3]`; the first plan of each is for warm-up."""
    seconds = np.empty((len(policies), repeats + 1, 3))
    for repeat in range(repeats + 1):
        for row, policy in enumerate(policies):
            history = take(histories, [repeat % repeats])
            timing = policy.plan(history, [torch.Generator().manual_seed(repeat)]).timing
            seconds[row, repeat] = timing.encode, timing.denoise, timing.seconds
    found: np.ndarray = np.median(seconds[:, 1:], 1)
    return found


def _trained(checkpoint: Path) -> str:
    """Returns command and duration of the training from the checkpoint's card."""
    lines = read_card(checkpoint).splitlines()
    said = [line.strip() for line in lines if line.startswith((_COMMAND, "Took "))]
    return f"`{said[0]}`. {' '.join(said[1:])}" if said else "no record of the training"
