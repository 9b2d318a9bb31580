"""The results of `paradp bench`: a table for the terminal, and a page with everything."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from paradp.policy.wording import counted

if TYPE_CHECKING:
    from paradp.scripts.contenders import BenchRow
    from paradp.scripts.floor import Floor

USUAL = "usual"


@dataclass(frozen=True)
class Part:
    """The measurements with one size of the network."""

    rows: "list[BenchRow]"
    floor: "Floor"

    @property
    def size(self) -> str:
        """The size in words."""
        return f"{self.rows[0].parameters / 1e6:.1f} M parameters"


_HEADER = [
    "batch", "sampler", "engine", "p50 ms", "p95", "p99", "usual ÷ p50", "rounds", "evals", "network", "÷ floor", "MB",
    "distribution", "error",
]  # fmt: skip


def _cells(row: "BenchRow", usual: "BenchRow", floor: "Floor") -> list[str]:
    return [
        str(row.batch),
        row.name if row.name == row.sampler else f"{row.name} ({row.sampler})",
        row.engine if row.precision == "fp32" else f"{row.engine} {row.precision}",
        *(_ms(ms) for ms in (row.p50_ms, row.p95_ms, row.p99_ms)),
        f"{usual.p50_ms / row.p50_ms:.1f}",
        f"{row.rounds:.1f}",
        f"{row.evaluations:.0f}",
        f"{row.network_share:.0%}",
        f"{row.p50_ms / floor.plan_ms(row.rounds, row.batch * row.evaluations, row.precision):.1f}",
        f"{row.memory_mb:.0f}",
        row.law,
        "" if row.error_median is None else f"{row.error_median:.0e}",
    ]


def _ms(ms: float) -> str:
    return f"{ms:.1f}" if ms >= 10 else f"{ms:.2f}"


def _all_cells(rows: "list[BenchRow]", floor: "Floor") -> list[list[str]]:
    usual = {row.batch: row for row in rows if row.name == USUAL}
    return [_cells(row, usual[row.batch], floor) for row in rows]


def bench_table(part: Part) -> Table:
    """The table for a terminal; the page and the JSON file contain everything."""
    table = Table(title=f"a plan, {counted(part.rows[0].threads, 'thread')}, {part.size}")
    shown = [_HEADER.index(name) for name in ("batch", "sampler", "engine", "p50 ms", "p99", "usual ÷ p50", "distribution")]
    for i in shown:
        table.add_column(_HEADER[i], justify="left" if _HEADER[i] in ("sampler", "engine", "distribution") else "right")
    for cells in _all_cells(part.rows, part.floor):
        table.add_row(*(cells[i] for i in shown))
    return table


def findings(rows: "list[BenchRow]") -> list[str]:
    """Sentences on the default sampler for each batch, and on the cost of images."""
    batches = [[row for row in rows if row.batch == size] for size in sorted({row.batch for row in rows})]
    return [*map(_finding, batches), *filter(None, map(_about_images, batches))]


def _about_images(rows: "list[BenchRow]") -> str:
    """A sentence on the time for encoding images; empty for a policy without images."""
    taken = {row.engine: row.encode_ms for row in rows if row.encode_ms is not None}
    if not taken:
        return ""
    each = ", ".join(f"{_ms(ms)} ms on {engine}" for engine, ms in taken.items())
    return f"Batch {rows[0].batch}: before that, once a plan, encoding the images takes {each} (median, in fp32)."


def _finding(rows: "list[BenchRow]") -> str:
    (usual,), (auto,), (fast,) = ([row for row in rows if row.name == name] for name in (USUAL, "auto", "auto-fast"))
    (ddpm,) = (r for r in rows if r.name == "ddpm" and (r.engine, r.precision) == (auto.engine, auto.precision))
    tails = [row.p99_ms / row.p50_ms for row in (auto, ddpm)]
    return (
        f"Batch {auto.batch}: `auto` ({auto.sampler}, {auto.engine}, {auto.precision}) takes {_ms(auto.p50_ms)} ms, "
        f"{usual.p50_ms / auto.p50_ms:.1f} times as fast as the usual loop ({usual.p50_ms:.0f} ms) and "
        f"{ddpm.p50_ms / auto.p50_ms:.2f} times as fast as sequential DDPM on the same engine ({_ms(ddpm.p50_ms)} ms); "
        f"p99 ÷ p50 of {auto.plans} plans is {tails[0]:.2f}, of the sequential {tails[1]:.2f}. "
        f"`auto-fast` ({fast.sampler}) takes {_ms(fast.p50_ms)} ms, {ddpm.p50_ms / fast.p50_ms:.2f} times as fast as "
        "sequential DDPM."
    )


def write_page(task: str, name: str, parts: "list[Part]", out: Path) -> None:
    """Writes the page with its pictures."""
    from paradp.policy.files.writing import naming_file
    from paradp.scripts.bench_plot import plot_bench
    from paradp.scripts.contenders import PUBLISHED
    from paradp.scripts.report import write_report

    rows = [row for part in parts for row in part.rows]
    pictures = [f"{name}.png" if len(parts) == 1 else f"{name}-{_short(part)}.png" for part in parts]
    wider = (
        ""
        if len(parts) == 1
        else (
            " Larger networks are the shipped one with copied channels (Net2Net): the same plans in the same rounds, at the "
            "cost of a larger network."
        )
    )
    body = f"""
One plan of the {task} policy, {counted(rows[0].threads, "thread")}, {min(row.plans for row in rows)} measurements of
each or more in turns, in one process. `usual` is diffusers' `DDPMScheduler.step` around the network in eager PyTorch, fp32,
as LeRobot and Diffusion Policy run it. `{PUBLISHED}` is ParaDiGMS' loop written as its authors do, with one window
for the whole batch. `distribution` compares the plans with those of sequential DDPM (100 steps, same network and engine):
`exact` means the same distribution, `tolerance` the same within a tolerance, `other` a different one. `error` is the median
over the measurements of the largest absolute difference of a chunk to the sequential sampler with the same steps, engine and
noise, in normalised units. `network` is the share of the time spent in the network, `÷ floor` the time divided by the
hardware's minimum time, `MB` the memory that engine, compilation and first plan added to the process.{wider}

{"".join(_section(part, picture) for part, picture in zip(parts, pictures, strict=True))}
"""
    write_report(out / f"{name}.md", f"{task} on {name}: the latency of a plan", body)
    for part, picture in zip(parts, pictures, strict=True):
        with naming_file(out / picture):
            plot_bench(part.rows, out / picture)


def _section(part: Part, picture: str) -> str:
    """A section of the page: the measurements with one size of the network."""
    from paradp.scripts.report import markdown_table

    found = "\n".join(f"- {finding}" for finding in findings(part.rows))
    return f"""
## {part.size}

{found}

{markdown_table(_HEADER, _all_cells(part.rows, part.floor))}

{part.floor.describe()}

![latency of a plan]({picture})
"""


def _short(part: Part) -> str:
    """Shortens a size for a file's name."""
    return f"{part.rows[0].parameters / 1e6:.0f}m"
