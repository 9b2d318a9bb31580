"""Times LeRobot's default network, 250 million parameters, on the rounds of a small policy that LeRobot trained."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import mean, median

import numpy as np
import torch
from torch import Tensor

from paradp.bridges.lerobot_config import read_config
from paradp.checkpoints import load_policy
from paradp.policy import DiffusionPolicy, Engine, build_engine
from paradp.policy.choices import Precision
from paradp.policy.networks.widening import widened
from paradp.policy.spec import PolicySpec
from paradp.rollouts.expert_histories import expert_histories
from paradp.sampler import NoisePath, SamplerChoice
from paradp.sampler.noise import noise_generator
from paradp.scripts.console import each
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.bridges import BASELINE, ENGINE, LEROBOT, PLACE, Timed, job, needs_lerobot, ratio
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.lerobot_peer import LeRobotPeer
from paradp.scripts.studies.registry import study

# LeRobot's default `down_dims`.
DEFAULT = (512, 1024, 2048)
SEQUENTIAL = (BASELINE, "ddim-10", "sde-dpm-solver-7:spacing=sine")
# The faster one of LeRobot's own samplers.
FEW = "ddim-10"
# Candidate windows: in place in PyTorch, and with our engine.
THEIR_WINDOWS, OUR_WINDOWS = (8, 20, 50), (2, 4, 8)
HEADER = [
    "who samples",
    "sampler",
    "rounds",
    "rows a round",
    "s a plan",
    "LeRobot's DDPM ÷ this",
    "LeRobot's DDIM-10 ÷ this",
]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
CALLERS = ("LeRobot", "`parallelize`", *(f"paradp in {name}" for name in PRECISIONS))
CALLS_HEADER = ["rows", *(f"{name}, ms a call" for name in CALLERS)]

# The number of rows in each call of a plan.
Rows = list[int]


@dataclass
class LargeCalls:
    """Calls of the large network, one entry a turn: rows → seconds.

    Attributes:
        theirs: eager, by LeRobot, with one row.
        place: the same after `parallelize`; interpolated between the measured numbers of rows.
        ours: precision → the same with our engine, compiled for a window; without entries if it was not measured.
        encoding: precision → seconds of our engine's work once per plan.
    """

    theirs: list[dict[int, float]] = field(default_factory=list)
    place: list[dict[int, float]] = field(default_factory=list)
    ours: dict[Precision, list[dict[int, float]]] = field(default_factory=lambda: {name: [] for name in PRECISIONS})
    encoding: dict[Precision, list[float]] = field(default_factory=lambda: {name: [] for name in PRECISIONS})


@study
def study_bridges_large(context: Context, plans: int = 16, repeats: int = 3, calls: int = 2) -> None:
    """Writes OUT/bridges-large.md."""
    checkpoint, python = needs_lerobot(context)
    torch.set_num_threads(1)
    small_channels = read_config(checkpoint).down_dims
    small = load_policy(checkpoint, BASELINE)
    network, spec = widened(small.network, small.spec, _factor(small_channels))
    engines = {precision: build_engine(network, spec, [small.device], "auto", precision) for precision in PRECISIONS}
    recorded: dict[str, list[Rows]] = {}
    timed: dict[int, LargeCalls] = {}
    with LeRobotPeer(python, job(context.task, checkpoint)) as peer:
        made = peer.large(DEFAULT)
        theirs = {1, *THEIR_WINDOWS, made["window"]}
        for window in each("windows", sorted({*theirs, *OUR_WINDOWS})):
            recorded |= {name: rows_of(small, name, plans) for name in _of_window(window)}
            some = {1, math.ceil(window / 2), window} if window in theirs else set()
            ours = {n for name in _of_window(window) for plan in recorded[name] for n in plan}
            measured = ours if window in (1, *OUR_WINDOWS) else set()
            timed[window] = _time(engines, spec, peer, window, (some, measured), repeats, calls)
    parameters = sum(one.numel() for one in network.parameters())
    if parameters != made["parameters"]:
        raise ValueError(f"LeRobot's network has {made['parameters']} parameters, and ours {parameters}")
    about = _about(context.task, small.spec, small_channels, parameters, engines["fp32"].name, plans, made["window"])
    body = f"""{about}

{_page(recorded, timed, repeats)}

{_calls_page(timed, repeats, calls)}
"""
    write_report(context.out / "bridges-large.md", "LeRobot's default network, sampled by LeRobot and by paradp", body)


def rows_of(policy: DiffusionPolicy, sampler: str, plans: int) -> list[Rows]:
    """Records the number of rows in each call of some plans."""
    solver = SamplerChoice.parse(sampler).build(policy.spec.schedule)
    conditions = policy.engine.encode(policy.condition(expert_histories(policy.spec, plans, seed=30_000, every=40)))
    shape = (policy.spec.horizons.predict, policy.spec.action_size)
    found = []
    for i in range(plans):
        calls: Rows = []

        def counting(x: Tensor, t: Tensor, condition: Tensor, calls: Rows = calls) -> Tensor:
            calls.append(len(x))
            return policy.engine(x, t, condition)

        noise = NoisePath.draw([noise_generator(i)], solver.table.steps, shape, policy.device)
        solver.solve(counting, conditions[i : i + 1], noise)
        found.append(calls)
    return found


def seconds_of(plans: Sequence[Rows], calls: Mapping[int, float]) -> float:
    """Returns the mean seconds of plans with these rows per call, from rows → seconds of a call, with interpolation."""
    known = sorted(calls)
    taken = [calls[n] for n in known]
    return mean(float(np.interp(plan, known, taken).sum()) for plan in plans)


def _factor(channels: Sequence[int]) -> int:
    """Returns how many times wider the default network is.

    Raises:
        ValueError: the default network is not a widened version of this one.
    """
    factor = DEFAULT[0] // channels[0]
    if tuple(factor * one for one in channels) != DEFAULT:
        raise ValueError(f"the small policy's channels must be a fraction of {DEFAULT}, and they are {tuple(channels)}")
    return factor


def _ours(precision: Precision) -> str:
    return ENGINE if precision == "fp32" else f"{ENGINE}, {precision}"


def _speculative(window: int) -> str:
    return f"speculative-{BASELINE}:window={window}"


def _of_window(window: int) -> Sequence[str]:
    return SEQUENTIAL if window == 1 else (_speculative(window),)


def _time(
    engines: Mapping[Precision, Engine],
    spec: PolicySpec,
    peer: LeRobotPeer,
    window: int,
    rows: tuple[set[int], set[int]],
    repeats: int,
    calls: int,
) -> LargeCalls:
    """Times calls by LeRobot with one row, in place, and by our engines, in turns; each with its own numbers of rows."""
    place, ours = map(sorted, rows)
    for engine in engines.values():
        engine.prepare(range(1, window + 1) if ours else [1])
    found, given = LargeCalls(), torch.zeros(1, spec.condition_size)
    for _ in range(repeats):
        found.theirs.append(dict(zip([1], peer.calls([1], calls), strict=True)))
        found.place.append(dict(zip(place, peer.calls(place, calls, in_place=True), strict=True)))
        for precision, engine in engines.items():
            found.ours[precision].append({n: _call(engine, spec, n, calls) for n in ours})
            encoding = median(_seconds(partial(engine.encode, given)) for _ in range(calls))
            found.encoding[precision].append(encoding)
    return found


@torch.no_grad()
def _call(engine: Engine, spec: PolicySpec, rows: int, calls: int) -> float:
    x = torch.randn(rows, spec.horizons.predict, spec.action_size, generator=torch.Generator().manual_seed(0))
    t = torch.zeros(rows, dtype=torch.int64)
    condition = engine.encode(torch.zeros(rows, spec.condition_size))
    return median([_seconds(partial(engine, x, t, condition)) for _ in range(calls + 1)][1:])


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _about(
    task: str, spec: PolicySpec, channels: Sequence[int], parameters: int, engine: str, plans: int, window: int
) -> str:
    return f"""
By default LeRobot's diffusion policy has a U-Net of {", ".join(map(str, DEFAULT))} channels: {parameters / 1e6:.1f} million
parameters. This network was not trained: single calls are timed, by LeRobot in eager PyTorch (random weights) and by
paradp's engine ({engine}; the small policy's weights, widened), one thread each. Plans in bf16
differ from those in fp32, and LeRobot's network was not timed in bf16. The number of calls in a plan, and of rows in
each call, was recorded from {plans} plans of the small policy that LeRobot trained ({task};
{", ".join(map(str, channels))} channels, chunks of {spec.horizons.predict} steps, also for the large network).
A plan's time is the sum of its calls, which take almost all of it, and of paradp's work once per plan.
`parallelize` chooses a window of {window} for LeRobot's network here."""


def _page(recorded: Mapping[str, list[Rows]], timed: Mapping[int, LargeCalls], repeats: int) -> str:
    rows = []
    for window, calls in timed.items():
        base = {name: Timed([seconds_of(recorded[name], one) for one in calls.theirs]) for name in (BASELINE, FEW)}
        for name in _of_window(window):
            plans, found = recorded[name], {}
            if name in base:
                found[LEROBOT] = base[name]
            elif calls.place[0]:
                found[PLACE] = Timed([seconds_of(plans, one) for one in calls.place])
            for precision, turns in calls.ours.items():
                if turns[0]:
                    taken = zip(calls.encoding[precision], turns, strict=True)
                    found[_ours(precision)] = Timed([encoding + seconds_of(plans, one) for encoding, one in taken])
            rounds, width = mean(map(len, plans)), mean(n for plan in plans for n in plan)
            for who, one in found.items():
                numbers = [f"{rounds:.1f}", f"{width:.1f}", f"{one.seconds:.2f}"]
                rows.append([who, f"`{name}`", *numbers, *(ratio(base[other], one) for other in (BASELINE, FEW))])
    return f"""\
## Plans

A figure is the median of {repeats} turns; a ratio is that of the same turn, median and least to most.

{markdown_table(HEADER, rows)}"""


def _calls_page(timed: Mapping[int, LargeCalls], repeats: int, calls: int) -> str:
    return f"""\
## Calls

Calls with one row and with whole windows; median of {repeats} turns, each the median of {calls} calls after a warm-up call.
Calls with fewer rows are interpolated for `parallelize`, and measured for paradp, whose engine pads them to compiled batch
sizes.

{markdown_table(CALLS_HEADER, [_calls_row(window, one) for window, one in timed.items()])}"""


def _calls_row(window: int, calls: LargeCalls) -> list[str]:
    ms = (
        f"{1000 * median(one[window] for one in turns):.0f}" if window in turns[0] else ""
        for turns in (calls.theirs, calls.place, *calls.ours.values())
    )
    return [str(window), *ms]
