"""How ParaDDPM on a trained policy compares with sequential DDPM on the same noise: rounds, error, time."""

from pathlib import Path

import matplotlib
import numpy as np
import torch

from paradp.checkpoints import load_policy
from paradp.policy.wording import counted
from paradp.sampler import Picard, Sequential
from paradp.scripts.console import each
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.bench import COST_HEADER, Bench, Measured
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.turns import Ratio, time_in_turns

matplotlib.use("Agg")
import matplotlib.pyplot as plt

TOLERANCES = (0.0, 1e-3, 1e-2, 0.1, 0.3, 1.0)
WINDOW = 20


def study_agreement(context: Context, observations: int = 64, seed: int = 20_000, repeats: int = 15) -> None:
    """Writes OUT/TASK-agreement.md and its picture."""
    task, out = context.task, context.out
    bench = Bench(load_policy(task, "ddpm", engine="eager"), observations, seed)
    policy, table = bench.policy, bench.policy.solver.table
    measured = {
        tolerance: bench.measure(f"para-ddpm:window={WINDOW}:tolerance={tolerance}")
        for tolerance in each(f"{task}, tolerances", TOLERANCES)
    }
    neighbours = _largest_change_of_the_others(bench)
    policies = [policy.with_solver(solver) for solver in (Sequential(table), Picard(table, WINDOW, 0.1))]
    times = time_in_turns(policies, bench.histories, repeats)
    (sequential_ms, parallel_ms), ratio = np.median(times, axis=1), Ratio.of(*times)

    rows = [[f"{tolerance:g}", *one.cells(), f"{np.max(one.error):.1e}"] for tolerance, one in measured.items()]  # type: ignore[arg-type]
    header = ["tolerance τ", *COST_HEADER, "largest"]
    body = f"""
ParaDDPM (unit split, window {WINDOW}) on the shipped {task} policy, {table.steps} steps, {observations} observations of the
scripted expert's episodes (seeds from {seed}), each with a noise path of its own. The error of a chunk is the largest
absolute difference to the sequential sample on the same noise, over the whole horizon, in normalised units.

{markdown_table(header, rows)}

Replacing one environment's observation changes the samples of the others by at most {neighbours:.1e} (the number of rows
in a matrix product changes its rounding; with an element-wise denoiser the change is exactly 0, which the tests check).

One plan at batch 1, PyTorch eager, {counted(torch.get_num_threads(), "thread")}, {repeats} interleaved repeats: sequential
{sequential_ms:.0f} ms, ParaDDPM {parallel_ms:.0f} ms (medians); sequential takes **{ratio.median:.2f}** times as long
(middle half of the repeats {ratio.low:.2f}–{ratio.high:.2f}).

![error and rounds against tolerance]({task}-agreement.png)
"""
    write_report(out / f"{task}-agreement.md", f"{task}: ParaDDPM against sequential DDPM on the same noise", body)
    _plot(measured, out / f"{task}-agreement.png")


def _largest_change_of_the_others(bench: Bench) -> float:
    policy = bench.policy
    solver = Picard(policy.solver.table, WINDOW, 0.0)
    condition, few = bench.condition[:8], bench.noise(policy.solver.table.steps)[:8]
    before = solver.solve(policy.engine, condition, few).sample
    replaced = condition.clone()
    replaced[3] = bench.condition[20]
    after = solver.solve(policy.engine, replaced, few).sample
    others = torch.arange(8) != 3
    return float((after - before)[others].abs().max())


def _plot(measured: dict[float, Measured], path: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    shown = {tolerance: one for tolerance, one in measured.items() if tolerance > 0}
    left.boxplot(
        [one.error for one in shown.values()], whis=(1, 99), showfliers=False, medianprops={"color": "black", "lw": 2}
    )
    left.set(yscale="log", xlabel="tolerance τ", ylabel="error of a chunk, 1st to 99th percentile")
    right.boxplot(
        [one.rounds for one in shown.values()], whis=(1, 99), showfliers=False, medianprops={"color": "black", "lw": 2}
    )
    right.set(xlabel="tolerance τ", ylabel="rounds a chunk", ylim=(0, None))
    for axes in (left, right):
        axes.set_xticklabels([f"{tolerance:g}" for tolerance in shown])
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)
