"""The latency of a plan on a GPU, from recorded results of `paradp bench --device cuda` and `paradp study calls`."""

import json
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from matplotlib.figure import Figure

from paradp.policy.wording import counted
from paradp.scripts.bench_plot import plot_bench
from paradp.scripts.contenders import BenchRow
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.calls import INPUTS, REPLAYS, TIMES
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.registry import drawing, study

HEADER = [
    "sampler",
    "precision",
    "p50 ms",
    "p99",
    "DDPM ÷ p50",
    "DDIM-10 ÷ p50",
    "rounds",
    "evals",
    "network",
    "floor ms",
    "plans",
    "distribution",
]
BYTES = {"fp32": 4, "bf16": 2}
# The folder of the recorded files, beside the page.
FOLDER = "gpu"


# Long: the page is one text.
@study
def study_gpu(context: Context) -> None:
    """Writes the page from the files in OUT/gpu, without measuring."""
    folder, page = context.out / FOLDER, context.out / "gpu.md"
    machine = json.loads((folder / "machine.json").read_text())
    memory = Memory(1e9 * machine["bandwidth_gb_s"], 1e6 * machine["cache_mb"])
    cases = [list(rows) for _, rows in groupby(_rows(folder), lambda row: (row.parameters, row.batch))]
    sections = "\n\n".join(_bench(rows, memory) for rows in cases)
    body = f"""
Measured on one {machine["gpu"]} (driver {machine["driver"]}, PyTorch {machine["torch"]}, Triton {machine["triton"]},
Python {machine["python"]}) with
`paradp bench {context.task} --checkpoint CHECKPOINT --data DEMOS --device cuda --engines auto`,
one run for each table, all samplers in turns (`bash scripts/gpu.sh` does all of it). This page was written on another
machine from the recorded rows. {machine["when"]}
`usual` is diffusers' loop around the network in eager PyTorch, fp32. All others use the cuda-graph engine: rounds and whole
sequential solves are captured, and Triton kernels compute the U-Net. A plan's time begins with drawing its noise
on the CPU and ends with the sample on the GPU. The larger networks are the policy's own with
every channel copied (`--widen`), so plans and rounds are those of the policy. `distribution` compares with DDPM with 100
steps on the same network. *Network*: the number of network calls times the duration of one call alone, including its launch,
as a share of the plan. *Floor*: the time for reading the weights, in every round, at {machine["bandwidth_gb_s"]} GB/s
(measured with a copy of 256 MB), or once per plan if the weights fit into the last-level cache of {machine["cache_mb"]} MB.

{chr(10).join(f"- {_finding(rows)}" for rows in cases)}

{sections}

## A call of the network

One call in a captured graph, the median of {TIMES} times {REPLAYS}. `overlapped` kernels start while the one before still
runs (programmatic dependent launch). The error is ‖out − PyTorch's fp32‖ ÷ ‖PyTorch's fp32‖, the largest of {INPUTS} random
inputs. The figures with an error were printed by the script that `paradp study calls` was made of, with the kernels of an
earlier occasion; those without (the median of 5 times 60) by one that compared sizes of tiles, on the occasion of the tables
of one robot. The study itself has not run on a GPU yet.

{_calls(folder / "calls.json")}

## What was not measured

Several GPUs, and `paradp study calls`. A bench of one network and batch takes about a minute with compiled kernels in the
cache, and two or three minutes without.

![latency of a plan]({page.with_suffix(".png").name})
"""
    write_report(page, "A plan on a GPU", body)
    draw_gpu(page)


@drawing()
def draw_gpu(page: Path) -> Figure:
    """Draws the picture of the GPU page."""
    return plot_bench(_rows(page.parent / FOLDER), page.with_suffix(".png"))


def _rows(folder: Path) -> list[BenchRow]:
    """The rows of all recorded benches, smallest network first."""
    rows = [BenchRow(**row) for path in folder.glob("bench-*.json") for row in json.loads(path.read_text())]
    return sorted(rows, key=lambda row: (row.parameters, row.batch))


@dataclass(frozen=True)
class Memory:
    """The memory of a GPU.

    Attributes:
        bandwidth: bytes per second.
        cache: size of the last-level cache in bytes.
    """

    bandwidth: float
    cache: float

    def floor_ms(self, row: BenchRow) -> float:
        """The least time of a plan in ms: reads the weights in every round, or once if they fit into the cache."""
        weights = row.parameters * BYTES[row.precision]
        return 1000 * weights / self.bandwidth * (1 if weights <= self.cache else row.rounds)


def _bench(rows: list[BenchRow], memory: Memory) -> str:
    """The section for one network and batch size."""
    return f"## {_case(rows[0])}\n\n{markdown_table(HEADER, [_cells(row, rows, memory) for row in rows])}"


def _case(row: BenchRow) -> str:
    robots = "one robot" if row.batch == 1 else f"{row.batch} robots in a batch"
    return f"{row.parameters / 1e6:.1f} M parameters, {robots}"


def _finding(rows: list[BenchRow]) -> str:
    """A sentence on the fastest exact parallel sampler in bf16."""
    bf16 = {row.name: row for row in rows if row.precision == "bf16"}
    best = min((row for row in bf16.values() if row.law == "exact" and row.name != "ddpm"), key=lambda row: row.p50_ms)
    times = {name: bf16[name].p50_ms / best.p50_ms for name in ("ddpm", "ddim-10", "dpm-solver-15")}
    return (
        f"{_case(best)}: {best.name} draws from exactly DDPM-100's distribution in {best.p50_ms:.2f} ms, "
        f"{times['ddpm']:.1f} times as fast as sequential DDPM-100, {times['ddim-10']:.2f} times as fast as DDIM-10 and "
        f"{times['dpm-solver-15']:.2f} times as fast as DPM-Solver-15, all captured, in bf16.{_again(best, bf16['auto'])}"
    )


def _again(best: BenchRow, auto: BenchRow) -> str:
    """A sentence on the sampler's second measurement, if `auto` chose it, as a measure of noise; there are no intervals."""
    if auto is best or auto.sampler != best.sampler:
        return ""
    return (
        f" The same sampler, measured once more as what `auto` chose, took {auto.p50_ms:.2f} ms: differences of a few"
        " percent mean nothing."
    )


def _cells(row: BenchRow, rows: list[BenchRow], memory: Memory) -> list[str]:
    beside = {r.name: r.p50_ms for r in rows if (r.engine, r.precision) == (row.engine, row.precision)}
    return [
        row.name if row.name == row.sampler else f"{row.name} ({row.sampler})",
        row.precision,
        f"{row.p50_ms:.2f}",
        f"{row.p99_ms:.2f}",
        *(f"{beside[name] / row.p50_ms:.2f}" if name in beside else "" for name in ("ddpm", "ddim-10")),
        f"{row.rounds:.1f}",
        f"{row.evaluations:.0f}",
        f"{min(row.network_share, 1):.0%}",
        f"{memory.floor_ms(row):.2f}",
        str(row.plans),
        row.law,
    ]


def _calls(path: Path) -> str:
    found = json.loads(path.read_text())
    numbers = sorted({one["rows"] for one in found})
    cells = {(one["widen"], one["precision"], one["overlapped"], one["rows"]): one for one in found}
    rows = []
    for widen, precision, overlapped in dict.fromkeys(key[:3] for key in cells):
        of = [cells[widen, precision, overlapped, n] for n in numbers]
        name = f"{widen} ×" if widen > 1 else "the policy's"
        errors = [one["error"] for one in of]
        worst = "not measured" if None in errors else f"{max(errors):.1e}"
        rows.append([name, precision, "yes" if overlapped else "no", *(f"{one['ms']:.3f}" for one in of), worst])
    return markdown_table(
        ["channels", "precision", "overlapped", *(f"{counted(n, 'row')}, ms" for n in numbers), "error"], rows
    )
