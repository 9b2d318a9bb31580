"""`paradp bench`: the latency of a plan on each engine, compared with the usual loop and few-step samplers."""

import json as json_format
import math
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from paradp.policy.choices import EngineName, engine_names
from paradp.policy.computing import Computing
from paradp.policy.settings import Limits
from paradp.policy.wording import counted, other_task
from paradp.scripts.bench_page import Part, bench_table, findings, write_page
from paradp.scripts.call import Several, TaskName
from paradp.scripts.console import Phases, console, doing, loading, progress, say
from paradp.scripts.datasets import open_data
from paradp.scripts.lists import DEFAULT, listed, one_of
from paradp.scripts.places import INSTEAD, check_device, check_file, check_folder, check_simulator, checkpoint_of, found
from paradp.scripts.train import check_data
from paradp.scripts.typed_settings import Typed, options_of

if TYPE_CHECKING:
    from paradp.policy import DiffusionPolicy
    from paradp.policy.engines.autotune.candidates import Candidates
    from paradp.policy.observations import Observation
    from paradp.sampler import SamplerChoice
    from paradp.scripts.contenders import BenchRow

# Number of observations, from the expert's episodes or from demonstrations.
OBSERVATIONS, SEED = 64, 20_000
# Default number of measurements; slow contenders have fewer, so that all turns take about the given seconds.
REPEATS, LEAST_REPEATS, SECONDS = {"cpu": 40, "cuda": 100}, 8, {"cpu": 90.0, "cuda": 10.0}

Numbers = Annotated[tuple[Several, ...], listed(int, "INT"), DEFAULT]
Engines = Annotated[tuple[EngineName, ...], listed(one_of(engine_names()), "NAME"), DEFAULT]
Repeats = Annotated[int, Limits(2, 100_000)]


@options_of(Computing, without=("engine", "precision"))
class Flags(Typed[Computing]):
    """The options of the computation, except engine and precision, which are compared.

    Attributes:
        threads: threads of PyTorch and of the engines; all cores by default.
    """


DEFAULT_COMPUTING = Flags()


# Long: its parameters are the command's options, and its docstring is their help.
def bench(
    task: TaskName,
    checkpoint: str | None = None,
    data: Path | None = None,
    batch: Numbers = (1,),
    widen: Numbers = (1,),
    repeats: Repeats | None = None,
    engines: Engines = (),
    json: Path | None = None,
    out: Path | None = None,
    computing: tyro.conf.OmitArgPrefixes[Flags] = DEFAULT_COMPUTING,
) -> None:
    """Measure the latency of a plan for every engine and sampler, in turns, compared with the loops of other programs.

        paradp bench square
        paradp bench square --batch 1 4 16 --out docs/results \\
            --json docs/results/cpu.json
        paradp bench square --engines eager compiled openvino
        paradp bench square --device cuda --widen 1 4 8 --batch 1 32

    Args:
        task: the task's name.
        checkpoint: a pretrained policy's name, a checkpoint's directory or hf:owner/name; by default the task's policy.
        data: demonstrations of the task (a zarr group) to take the observations from; by default those of its scripted
            expert's episodes.
        batch: environments per batch of plans, one or several numbers.
        widen: measure the policy's U-Net with this many times its channels, one or several numbers. Every channel is
            copied, so plans and rounds stay the same, and only the cost is that of a larger network.
        repeats: measurements of each sampler and engine. They take turns, so that a slow period of the machine affects all
            of them. By default 40 (100 on a GPU), slow ones less often, but at least 8. Larger batches need fewer repeats
            for the same number of plans.
        engines: one or several of auto, eager, compiled, openvino and cuda-graph. The last one is measured with every
            sampler. By default eager and the fastest engine of the device.
        json: write the rows to this file: name, sampler, engine, precision, threads, batch, parameters, p50_ms, p95_ms,
            p99_ms, rounds, evaluations, network_share, memory_mb, plans, law, error_median, encode_ms. `law` is the
            distribution of the plans compared with sequential DDPM: exact, tolerance or other.
        out: write a page with its picture to this folder, DEVICE.md or DEVICE-N-threads.md.
        computing: how the engines compute.
    """
    how = computing.checked()
    device, threads = how.device, how.threads
    # A checkpoint and demonstrations need no simulator.
    weights = checkpoint_of(task, checkpoint) if checkpoint is None or data is None else found(checkpoint)
    check_device(device)
    _check_numbers(batch=batch, widen=widen)
    if data is None:
        check_simulator(task, INSTEAD)
    else:
        check_data(data, task)
    if json is not None:
        check_file(json, "--json")
    if out is not None:
        check_folder(out)
    with loading():
        import torch

        from paradp.checkpoints import checkpoint_digest, load_policy
        from paradp.checkpoints.fidelity import candidates_for
        from paradp.policy import fastest_engine
        from paradp.scripts.floor import measure_floor
    if threads is not None:
        torch.set_num_threads(threads)
    with doing("loading the policy, and observations"):
        policy = load_policy(weights, "ddpm", device, engine="eager")
        _check_task(policy.spec.task, task)
        names = _engines(engines, fastest_engine(policy.device))
        histories = _histories(policy, data)
    digest = checkpoint_digest(weights)
    candidates = partial(candidates_for, path=weights, sha256=digest, schedule=policy.spec.schedule)
    parts = []
    for wide in (_widened(policy, factor) for factor in widen):
        rows = [row for size in batch for row in _measure(wide, histories, size, repeats, names, candidates)]
        with doing("measuring the hardware's minimum time"):
            parts.append(Part(rows, measure_floor(wide, str(wide.device))))
    _tell(parts)
    if json is not None:
        _write_rows(json, [row for part in parts for row in part.rows])
    if out is not None:
        name = device if threads is None else f"{device}-{counted(threads, 'thread').replace(' ', '-')}"
        write_page(task, name, parts, out)
        say(f"{out}/{name}.md")


def _tell(parts: list[Part]) -> None:
    for part in parts:
        console.print(bench_table(part))
        console.print(*findings(part.rows), sep="\n")
        console.print(part.floor.describe())


def _check_task(trained: str, task: str) -> None:
    """Raises:
    ValueError: the policy was trained for another task.
    """
    if trained != task:
        raise ValueError(f"the checkpoint does not fit the task {task!r}. {other_task(trained, task)}")


def _check_numbers(**options: tuple[int, ...]) -> None:
    """Raises:
    ValueError: an option has no numbers, or a number twice.
    """
    for name, numbers in options.items():
        if not numbers or len(set(numbers)) < len(numbers):
            raise ValueError(f"--{name} must name one or several numbers, each once")


def _engines(named: Sequence[EngineName], fastest: EngineName) -> tuple[EngineName, ...]:
    """Parses the engines to measure.

    Raises:
        ValueError: an engine is named twice.
    """
    names = tuple(fastest if name == "auto" else name for name in named or dict.fromkeys(("eager", fastest)))
    if len(set(names)) < len(names):
        raise ValueError(f"--engines names one twice: {', '.join(names)}")
    return names


def _write_rows(path: Path, rows: "list[BenchRow]") -> None:
    from paradp.policy.files import write_whole

    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json_format.dumps([asdict(row) for row in rows], indent=2) + "\n").encode())
    say(str(path))


def _histories(policy: "DiffusionPolicy", data: Path | None) -> "Observation":
    """Collects `OBSERVATIONS` histories."""
    if data is None:
        from paradp.rollouts.expert_histories import expert_histories

        return expert_histories(policy.spec, OBSERVATIONS, SEED)
    from paradp.rollouts.evaluation.fidelity import recorded_observations

    return recorded_observations(open_data(data, policy.spec.task), policy.spec, OBSERVATIONS, SEED).judging


def _widened(policy: "DiffusionPolicy", factor: int) -> "DiffusionPolicy":
    """Returns the same policy with a wider network."""
    from paradp.policy.networks.widening import widened

    if factor == 1:
        return policy
    wide = copy(policy)
    wide.network, wide.spec = widened(policy.network, policy.spec, factor)
    return wide


def _measure(
    policy: "DiffusionPolicy",
    histories: "Observation",
    batch: int,
    repeats: int | None,
    engines: "tuple[EngineName, ...]",
    candidates: "Callable[[SamplerChoice], Candidates]",
) -> "list[BenchRow]":
    """Measures the rows of one batch, with progress bars for building and for measuring."""
    from paradp.scripts.planning_time import PlanningBench

    bench = PlanningBench(policy, histories, batch, engines, candidates)
    with progress(f"building engines, batch {batch}", len(bench.wanted)) as report:
        report(0)
        for done, name in enumerate(bench.build()):
            report(done + 1, name)
    with Phases() as phases:
        bench.warm_up(partial(phases.report, f"warming up, batch {batch}"))
    kind = policy.device.type
    wanted = repeats or REPEATS[kind]
    turns = max(min(wanted, LEAST_REPEATS), wanted // batch)
    with progress(f"measuring, batch {batch}", bench.turns(turns)) as report:
        report(0)
        # Slow contenders are only measured in full if the user set the number of repeats.
        least, seconds = (None, math.inf) if repeats else (min(turns, LEAST_REPEATS), SECONDS[kind])
        for done, _ in enumerate(bench.measure(turns, least, seconds)):
            report(done + 1)
    for left_out in bench.left_out:
        say(left_out)
    return bench.rows()
