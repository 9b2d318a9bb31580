"""`paradp bench`: what a plan takes, beside the usual loop and few-step samplers, on each engine."""

import json as json_format
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.table import Table

from paradp.envs import find_task
from paradp.policy.choices import EngineName
from paradp.policy.wording import counted
from paradp.scripts.call import Several, TaskName, Within
from paradp.scripts.console import Phases, console, doing, loading, progress, say
from paradp.scripts.lists import listed, one_of
from paradp.scripts.places import check_device, check_file, check_folder, checkpoint_of

if TYPE_CHECKING:
    from torch import Tensor

    from paradp.policy import DiffusionPolicy
    from paradp.policy.engines.autotune.candidates import Candidates
    from paradp.sampler import SamplerChoice
    from paradp.scripts.contenders import BenchRow
    from paradp.scripts.floor import Floor

# Along the expert's episodes.
OBSERVATIONS, SEED = 64, 20_000
# How often each is measured by default; fewer where all turns would take longer than so many seconds.
REPEATS, LEAST_REPEATS, SECONDS = 40, 8, 90.0
USUAL = "usual"

Batches = Annotated[tuple[Several, ...], listed(int, "INT")]
Engines = Annotated[tuple[EngineName, ...], listed(one_of(EngineName), "NAME")]
Repeats = Annotated[int, Within(2, 100_000)]


def bench(
    task: TaskName,
    checkpoint: str | None = None,
    device: str = "cpu",
    batch: Batches = (1,),
    repeats: Repeats | None = None,
    engines: Engines = (),
    threads: Several | None = None,
    json: Path | None = None,
    out: Path | None = None,
) -> None:
    """Measure the latency of a plan for every engine and sampler, in turns, beside what others run.

        paradp bench square
        paradp bench square --batch 1 4 16 --out docs/results \\
            --json docs/results/cpu.json
        paradp bench square --engines eager compiled openvino

    Args:
        task: the task's name.
        checkpoint: a pretrained policy's name or a checkpoint's directory; the task's own pretrained policy by default.
        device: cpu or cuda.
        batch: how many environments are planned together, one or several numbers.
        repeats: how often each is measured; they take turns, so that a slow moment of the machine is everyone's. By default
            40 times, fewer where that would take more than 90 s, and at least 8. Of larger batches as many plans, in
            fewer repeats.
        engines: of auto, eager, compiled, openvino and cuda-graph; the last one named is measured with every sampler; by
            default eager and the device's fastest.
        threads: of PyTorch and of the engines; as many as there are cores by default.
        json: a file for the rows: name, sampler, engine, precision, threads, batch, p50_ms, p95_ms, p99_ms, rounds,
            evaluations, network_share, memory_mb, plans, law, error_median.
        out: a folder for a page and its picture, DEVICE.md or DEVICE-N-threads.md.
    """
    find_task(task)
    weights = checkpoint_of(task, checkpoint)
    check_device(device)
    if not batch:
        raise ValueError("--batch must name one or several numbers of environments")
    if json is not None:
        check_file(json, "--json")
    if out is not None:
        check_folder(out)
    with loading():
        import torch

        from paradp.checkpoints import checkpoint_digest, load_policy
        from paradp.checkpoints.fidelity import candidates_for
        from paradp.policy import fastest_engine
        from paradp.rollouts.expert_histories import expert_histories
        from paradp.scripts.floor import measure_floor
    if threads is not None:
        torch.set_num_threads(threads)
    with doing("loading the policy, and observations along the expert's episodes"):
        policy = load_policy(weights, "ddpm", device, engine="eager")
        fastest = fastest_engine(policy.device)
        names = tuple(fastest if name == "auto" else name for name in engines or ("eager", "auto"))
        if len(set(names)) < len(names):
            raise ValueError(f"--engines names one twice: {', '.join(names)}")
        conditions = policy.condition(expert_histories(policy.spec, OBSERVATIONS, SEED))
    digest = checkpoint_digest(weights)
    candidates = partial(candidates_for, path=weights, sha256=digest, schedule=policy.spec.schedule)
    rows: list[BenchRow] = []
    for size in batch:
        rows += _measure(policy, conditions, size, repeats, names, candidates)
    with doing("measuring the floor that the hardware sets"):
        floor = measure_floor(policy, device)
    console.print(_table(rows, floor))
    console.print(*_findings(rows), sep="\n")
    console.print(floor.describe())
    if json is not None:
        from paradp.policy.files import write_whole

        json.parent.mkdir(parents=True, exist_ok=True)
        write_whole(json, (json_format.dumps([asdict(row) for row in rows], indent=2) + "\n").encode())
        say(str(json))
    if out is not None:
        name = device if threads is None else f"{device}-{counted(threads, 'thread').replace(' ', '-')}"
        _write_page(task, name, rows, floor, out)
        say(f"{out}/{name}.md")


def _measure(
    policy: "DiffusionPolicy",
    conditions: "Tensor",
    batch: int,
    repeats: int | None,
    engines: "tuple[EngineName, ...]",
    candidates: "Callable[[SamplerChoice], Candidates]",
) -> "list[BenchRow]":
    """The rows of one batch, with a bar for building what is measured and one for measuring it."""
    from paradp.scripts.planning_time import Bench

    bench = Bench(policy, conditions, batch, engines, candidates)
    with progress(f"building engines, batch {batch}", len(bench.wanted)) as report:
        report(0)
        for done, name in enumerate(bench.build()):
            report(done + 1, name)
    with Phases() as phases:
        seconds = bench.warm_up(partial(phases.report, f"warming up, batch {batch}"))
    turns = max(min(repeats or REPEATS, LEAST_REPEATS), (repeats or REPEATS) // batch)
    if repeats is None:
        turns = max(LEAST_REPEATS, min(turns, int(SECONDS / seconds)))
    with progress(f"measuring, batch {batch}", bench.turns(turns)) as report:
        report(0)
        for done, _ in enumerate(bench.measure(turns)):
            report(done + 1)
    for left_out in bench.left_out:
        say(left_out)
    return bench.rows()


_HEADER = [
    "batch", "sampler", "engine", "p50 ms", "p95", "p99", "usual ÷ p50", "rounds", "evals", "network", "÷ floor", "MB",
    "law", "error",
]  # fmt: skip


def _cells(row: "BenchRow", usual: "BenchRow", floor: "Floor") -> list[str]:
    return [
        str(row.batch),
        row.name if row.name == row.sampler else f"{row.name} ({row.sampler})",
        row.engine if row.precision == "fp32" else f"{row.engine} {row.precision}",
        *(f"{ms:.1f}" for ms in (row.p50_ms, row.p95_ms, row.p99_ms)),
        f"{usual.p50_ms / row.p50_ms:.1f}",
        f"{row.rounds:.1f}",
        f"{row.evaluations:.0f}",
        f"{row.network_share:.0%}",
        f"{row.p50_ms / floor.plan_ms(row.rounds, row.batch * row.evaluations, row.precision):.1f}",
        f"{row.memory_mb:.0f}",
        row.law,
        "" if row.error_median is None else f"{row.error_median:.0e}",
    ]


def _all_cells(rows: "list[BenchRow]", floor: "Floor") -> list[list[str]]:
    usual = {row.batch: row for row in rows if row.name == USUAL}
    return [_cells(row, usual[row.batch], floor) for row in rows]


def _table(rows: "list[BenchRow]", floor: "Floor") -> Table:
    """What fits a terminal; the page and the JSON file have all of it."""
    table = Table(title=f"a plan, {counted(rows[0].threads, 'thread')}")
    shown = [_HEADER.index(name) for name in ("batch", "sampler", "engine", "p50 ms", "p99", "usual ÷ p50", "law")]
    for i in shown:
        table.add_column(_HEADER[i], justify="left" if _HEADER[i] in ("sampler", "engine", "law") else "right")
    for cells in _all_cells(rows, floor):
        table.add_row(*(cells[i] for i in shown))
    return table


def _findings(rows: "list[BenchRow]") -> list[str]:
    """What the default sampler makes of it, for every batch."""
    return [_finding([row for row in rows if row.batch == size]) for size in sorted({row.batch for row in rows})]


def _finding(rows: "list[BenchRow]") -> str:
    (usual,), (auto,), (fast,) = ([row for row in rows if row.name == name] for name in (USUAL, "auto", "auto-fast"))
    (ddpm,) = (r for r in rows if r.name == "ddpm" and (r.engine, r.precision) == (auto.engine, auto.precision))
    tails = [row.p99_ms / row.p50_ms for row in (auto, ddpm)]
    return (
        f"Batch {auto.batch}: `auto` ({auto.sampler}, {auto.engine}, {auto.precision}) takes {auto.p50_ms:.1f} ms, "
        f"{usual.p50_ms / auto.p50_ms:.1f} times as fast as the usual loop ({usual.p50_ms:.0f} ms) and "
        f"{ddpm.p50_ms / auto.p50_ms:.2f} times as fast as sequential DDPM on the same engine ({ddpm.p50_ms:.1f} ms); "
        f"p99 ÷ p50 of {auto.plans} plans is {tails[0]:.2f}, of the sequential {tails[1]:.2f}. "
        f"`auto-fast` ({fast.sampler}) takes {fast.p50_ms:.1f} ms, {ddpm.p50_ms / fast.p50_ms:.2f} times as fast as "
        "sequential DDPM."
    )


def _write_page(task: str, name: str, rows: "list[BenchRow]", floor: "Floor", out: Path) -> None:
    from paradp.scripts.contenders import PUBLISHED
    from paradp.scripts.report import markdown_table, write_report

    findings = "\n".join(f"- {finding}" for finding in _findings(rows))
    body = f"""
One plan of the shipped {task} policy, {counted(rows[0].threads, "thread")}, {min(row.plans for row in rows)} measurements of
each or more in turns, in one process. `usual` is diffusers' `DDPMScheduler.step` around the network in eager PyTorch, fp32,
as LeRobot and Diffusion Policy run it. `{PUBLISHED}` is ParaDiGMS' loop written as its authors do, with one window
for the whole batch. `law`: `exact` is that of sequential DDPM with 100 steps on that engine's network, `tolerance` is within
one of it, `other` is another sampler's. The error is the median over the measurements of the largest absolute difference of
a chunk to the sequential sampler of the same steps, engine and noise, normalised units. `network` is the share of the time
that is spent in the network, `÷ floor` the time divided by the hardware's minimum time, `MB` what
engine, compilation and first plan added to the process's memory.

{findings}

{markdown_table(_HEADER, _all_cells(rows, floor))}

{floor.describe()}

![latency of a plan]({name}.png)
"""
    write_report(out / f"{name}.md", f"{task} on {name}: the latency of a plan", body)
    from paradp.policy.files.writing import naming_file
    from paradp.scripts.bench_plot import plot_bench

    with naming_file(out / f"{name}.png"):
        plot_bench(rows, out / f"{name}.png")
