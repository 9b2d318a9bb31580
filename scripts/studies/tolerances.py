"""What the tolerance buys and costs: rounds, evaluations, error, success; and the error if a budget ends the rounds."""

from pathlib import Path

import matplotlib
import numpy as np

from paradp.checkpoints import find_checkpoint, load_policy, read_info
from paradp.scripts.console import each
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.bench import COST_HEADER, Bench, Measured
from paradp.scripts.studies.closed_loop import LOOP_HEADER, ClosedLoops
from paradp.scripts.studies.context import Context

matplotlib.use("Agg")
import matplotlib.pyplot as plt

TOLERANCES = ("0.001", "0.01", "0.1", "0.3", "1.0")
BUDGETS = (2, 3, 4, 6, 8, 10, 12, 15, 20, 25, 30)
SPLITS = ("unit", "linear")


def study_tolerances(context: Context) -> None:
    """Writes TASK-tolerances.md and its picture."""
    bench = Bench(load_policy(context.task, "ddpm"))
    loops = ClosedLoops(context.runs, bench.policy, read_info(find_checkpoint(context.task)).model_sha256)
    tolerances, budgets = {}, {}
    for split in each(f"{context.task}, splits", SPLITS):
        tolerances[split] = [bench.measure(f"para-ddpm:split={split}:tolerance={tolerance}") for tolerance in TOLERANCES]
        budgets[split] = [bench.measure(f"para-ddpm:split={split}:max-rounds={budget}") for budget in BUDGETS]
    rows = []
    for split in SPLITS:
        for tolerance, measured in zip(TOLERANCES, tolerances[split], strict=True):
            run = [""] * 4 if split == "linear" else loops.cells(_named(tolerance))
            rows.append([f"{split}, {tolerance}", *measured.cells(), *run])
    body = f"""
ParaDDPM, window 20, on the shipped {context.task} policy, {bench.describe()}

{markdown_table(["split, tolerance τ", *COST_HEADER, *LOOP_HEADER], rows)}

The right columns are of closed-loop episodes with the unit split (`paradp rollout {context.task} --sampler
para-ddpm:tolerance=… --seed 100000 --envs 20`), on the seeds that the run shares with sequential DDPM's.

## Error against a budget of rounds

`max-rounds` ends a solve early, here at τ = 0.1: a sample that is not there by then is completed from its last converged
state with the prediction there held, and is marked as not converged.

{markdown_table(["rounds", *(f"{split}: {what}" for split in SPLITS for what in _BUDGET_COLUMNS)], _budget_rows(budgets))}

![error and rounds against the tolerance; error against the budget]({context.task}-tolerances.png)
"""
    write_report(context.out / f"{context.task}-tolerances.md", f"{context.task}: tolerance and budget of ParaDDPM", body)
    _plot(tolerances, budgets, context.out / f"{context.task}-tolerances.png")


_BUDGET_COLUMNS = ("converged", "error, median", "99th percentile", "evaluations")


def _named(tolerance: str) -> str:
    """The sampler as it is run; 0.1 is the default."""
    return "para-ddpm" if tolerance == "0.1" else f"para-ddpm:tolerance={tolerance}"


def _budget_rows(budgets: dict[str, list[Measured]]) -> list[list[str]]:
    return [
        [str(budget), *(cell for split in SPLITS for cell in _budget_cells(budgets[split][i]))]
        for i, budget in enumerate(BUDGETS)
    ]


def _budget_cells(measured: Measured) -> list[str]:
    assert measured.error is not None
    median, high = np.percentile(measured.error, [50, 99])
    return [f"{measured.converged:.0%}", f"{median:.1e}", f"{high:.1e}", f"{measured.evaluations.mean():.0f}"]


def _plot(tolerances: dict[str, list[Measured]], budgets: dict[str, list[Measured]], path: Path) -> None:
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4), layout="constrained")
    taus = [float(t) for t in TOLERANCES]
    for split in SPLITS:
        _error_band(left, taus, tolerances[split], split)
        middle.plot(taus, [m.rounds.mean() for m in tolerances[split]], "o-", label=split)
        _error_band(right, list(BUDGETS), budgets[split], split)
    left.set(xscale="log", yscale="log", xlabel="tolerance τ", ylabel="error of a chunk: median to 99th percentile")
    middle.set(xscale="log", xlabel="tolerance τ", ylabel="rounds a chunk", ylim=(0, None))
    right.set(yscale="log", xlabel="budget of rounds (τ = 0.1)", ylabel="error of a chunk: median to 99th percentile")
    for axes in (left, middle, right):
        axes.legend(title="split")
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _error_band(axes: plt.Axes, x: list[float] | list[int], measured: list[Measured], label: str) -> None:
    median, high = np.array([np.percentile(m.error, [50, 99]) for m in measured]).T  # type: ignore[arg-type]
    (line,) = axes.plot(x, median, "o-", label=label)
    axes.fill_between(x, median, high, alpha=0.2, color=line.get_color())
