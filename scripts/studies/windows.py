"""How wide a window pays: rounds, evaluations, and memory."""

import multiprocessing
from pathlib import Path

import matplotlib
import torch

from paradp.checkpoints import load_policy
from paradp.policy.wording import counted
from paradp.sampler import NoisePath, Picard
from paradp.scripts.console import each
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.bench import COST_HEADER, Bench, Measured
from paradp.scripts.studies.context import Context

matplotlib.use("Agg")
import matplotlib.pyplot as plt

WINDOWS = (5, 8, 10, 15, 20, 30, 50, 75, 100)
SAMPLERS = ("para-ddpm", "para-ddpm:split=linear", "speculative-ddpm")
BATCHES = (1, 20)


def study_windows(context: Context) -> None:
    """Writes TASK-windows.md and its picture."""
    bench = Bench(load_policy(context.task, "ddpm"))
    measured: dict[str, list[Measured]] = {sampler: [] for sampler in SAMPLERS}
    memory: dict[int, list[float]] = {batch: [] for batch in BATCHES}
    for window in each(f"{context.task}, windows", WINDOWS):
        for sampler in SAMPLERS:
            measured[sampler].append(bench.measure(f"{sampler}:window={window}"))
        for batch in BATCHES:
            memory[batch].append(_peak_memory(context.task, window, batch))
    rows = [
        [f"`{sampler}`", str(window), *one.cells()]
        for sampler in SAMPLERS
        for window, one in zip(WINDOWS, measured[sampler], strict=True)
    ]
    memory_rows = [[str(w), *(f"{memory[b][i]:.1f}" for b in BATCHES)] for i, w in enumerate(WINDOWS)]
    body = f"""
The shipped {context.task} policy, {bench.describe()}

{markdown_table(["sampler", "window", *COST_HEADER], rows)}

Memory that a ParaDDPM solve adds to the process at its peak, PyTorch eager on the CPU: the largest resident size during the
solve less the size before it, each in a fresh process. It is almost all activations of the network, for window times
environments rows.

{markdown_table(["window", *(f"{counted(b, 'environment')}, MiB" for b in BATCHES)], memory_rows)}

![rounds, evaluations and memory against the window]({context.task}-windows.png)
"""
    write_report(context.out / f"{context.task}-windows.md", f"{context.task}: the width of the window", body)
    _plot(measured, memory, context.out / f"{context.task}-windows.png")


def _peak_memory(task: str, window: int, batch: int) -> float:
    """MiB, measured in a process of its own: what one solve freed another would not have to ask for."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_added_memory, (task, window, batch))


def _added_memory(task: str, window: int, batch: int) -> float:
    torch.set_num_threads(1)
    policy = load_policy(task, f"para-ddpm:window={window}", engine="eager")
    shape = (policy.spec.horizons.predict, policy.spec.action_size)
    noise = NoisePath.draw([torch.Generator().manual_seed(i) for i in range(batch)], policy.solver.table.steps, shape)
    condition = torch.zeros(batch, policy.spec.condition_size)
    # A solve of one row at a time first, so that what is loaded and compiled once is not counted.
    Picard(policy.solver.table, window=1).solve(policy.network, condition[:1], noise[:1])
    # The kernel's peak is inherited by a new process; from here on it is this solve's.
    Path("/proc/self/clear_refs").write_text("5")
    before = _memory("VmRSS")
    policy.solver.solve(policy.network, condition, noise)
    added = _memory("VmHWM") - before
    if added <= 0:
        raise RuntimeError("the kernel did not report the peak memory of this process")
    return added


def _memory(key: str) -> float:
    """MiB, by proc(5): `VmRSS` is the resident size, `VmHWM` its peak."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


def _plot(measured: dict[str, list[Measured]], memory: dict[int, list[float]], path: Path) -> None:
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4), layout="constrained")
    for sampler, results in measured.items():
        left.plot(WINDOWS, [m.rounds.mean() for m in results], "o-", label=sampler)
        middle.plot(WINDOWS, [m.evaluations.mean() for m in results], "o-", label=sampler)
    for batch, mebibytes in memory.items():
        right.plot(WINDOWS, mebibytes, "o-", label=counted(batch, "environment"))
    left.set(ylabel="rounds a chunk", ylim=(0, None))
    middle.set(ylabel="evaluations a chunk", ylim=(0, None))
    right.set(ylabel="peak memory of a solve, MiB", yscale="log")
    for axes in (left, middle, right):
        axes.set_xlabel("window")
        axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)
