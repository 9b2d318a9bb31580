"""How ParaDDPM on a trained policy compares with sequential DDPM on the same noise: rounds, error, time."""

from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch

from paradp.checkpoints import load_policy
from paradp.policy import DiffusionPolicy
from paradp.sampler import NoisePath, Picard, Sequential, Solution, Solver
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.observations import expert_histories

matplotlib.use("Agg")
import matplotlib.pyplot as plt

TOLERANCES = (0.0, 1e-3, 1e-2, 0.1, 0.3, 1.0)
WINDOW = 20


@dataclass(frozen=True)
class Agreement:
    """One solver against the sequential one, over all observations; errors in normalised units."""

    tolerance: float
    rounds: np.ndarray
    evaluations: np.ndarray
    error: np.ndarray


def study_agreement(context: Context, observations: int = 64, seed: int = 20_000, repeats: int = 15) -> None:
    """Writes OUT/TASK-agreement.md and its picture."""
    task, out = context.task, context.out
    policy = load_policy(task, "ddpm", engine="eager")
    histories = expert_histories(policy, observations, seed)
    shape = (policy.spec.horizons.predict, policy.spec.action_size)
    noise = NoisePath.draw([torch.Generator().manual_seed(i) for i in range(observations)], policy.solver.table.steps, shape)

    def solve(solver: Solver) -> Solution:
        return solver.solve(policy.network, policy.condition(histories), noise)

    table = policy.solver.table
    reference = solve(Sequential(table)).sample
    results = []
    for tolerance in TOLERANCES:
        solution = solve(Picard(table, WINDOW, tolerance))
        error = (solution.sample - reference).abs().amax((1, 2)).numpy()
        results.append(Agreement(tolerance, solution.stats.rounds.numpy(), solution.stats.evaluations.numpy(), error))
    neighbours = _largest_change_of_the_others(policy, histories, noise)
    ratio, low, high, sequential_ms, parallel_ms = _time_ratio(policy, histories, repeats)

    rows = [
        [
            f"{r.tolerance:g}",
            f"{r.rounds.mean():.1f} (max {r.rounds.max()})",
            f"{r.evaluations.mean():.0f}",
            f"{np.median(r.error):.1e}",
            f"{np.percentile(r.error, 99):.1e}",
            f"{r.error.max():.1e}",
        ]
        for r in results
    ]
    header = ["tolerance τ", "rounds a chunk", "evaluations", "error, median", "99th percentile", "largest"]
    body = f"""
ParaDDPM (unit split, window {WINDOW}) on the shipped {task} policy, {table.steps} steps, {observations} observations of the
scripted expert's episodes (seeds from {seed}), each with a noise path of its own. The error of a chunk is the largest
absolute difference to the sequential sample on the same noise, over the whole horizon, in normalised units.

{markdown_table(header, rows)}

Replacing one environment's observation changes the samples of the others by at most {neighbours:.1e} (the number of rows
in a matrix product changes its rounding; with an element-wise denoiser the change is exactly 0, which the tests check).

One plan at batch 1, PyTorch eager, {torch.get_num_threads()} threads, {repeats} interleaved repeats: sequential
{sequential_ms:.0f} ms, ParaDDPM {parallel_ms:.0f} ms (medians); sequential takes **{ratio:.2f}** times as long (middle half
of the repeats {low:.2f}–{high:.2f}).

![error and rounds against tolerance]({task}-agreement.png)
"""
    write_report(out / f"{task}-agreement.md", f"{task}: ParaDDPM against sequential DDPM on the same noise", body)
    _plot(results, out / f"{task}-agreement.png")


def _largest_change_of_the_others(policy: DiffusionPolicy, histories: np.ndarray, noise: NoisePath) -> float:
    solver = Picard(policy.solver.table, WINDOW, 0.0)
    few = noise[:8]
    before = solver.solve(policy.network, policy.condition(histories[:8]), few).sample
    replaced = histories[:8].copy()
    replaced[3] = histories[20]
    after = solver.solve(policy.network, policy.condition(replaced), few).sample
    others = torch.arange(8) != 3
    return float((after - before)[others].abs().max())


def _time_ratio(policy: DiffusionPolicy, histories: np.ndarray, repeats: int) -> tuple[float, float, float, float, float]:
    solvers: tuple[Solver, ...] = (Sequential(policy.solver.table), Picard(policy.solver.table, WINDOW, 0.1))
    seconds: list[list[float]] = [[], []]
    for i in range(repeats + 1):  # the first repeat is warm-up
        for solver, times in zip(solvers, seconds, strict=True):
            policy.solver = solver
            times.append(policy.plan(histories[i : i + 1], [torch.Generator().manual_seed(i)]).seconds)
    sequential, parallel = (np.array(times[1:]) for times in seconds)
    low, ratio, high = np.percentile(sequential / parallel, [25, 50, 75])
    return float(ratio), float(low), float(high), 1000 * float(np.median(sequential)), 1000 * float(np.median(parallel))


def _plot(results: list[Agreement], path: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    shown = [r for r in results if r.tolerance > 0]
    left.boxplot([r.error for r in shown], whis=(1, 99), showfliers=False)
    left.set(yscale="log", xlabel="tolerance τ", ylabel="error of a chunk, 1st to 99th percentile")
    right.boxplot([r.rounds for r in shown], whis=(1, 99), showfliers=False)
    right.set(xlabel="tolerance τ", ylabel="rounds a chunk", ylim=(0, None))
    for axes in (left, right):
        axes.set_xticklabels([f"{r.tolerance:g}" for r in shown])
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)
