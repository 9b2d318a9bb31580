"""Samples a flow policy with ten steps in parallel: rounds, error, and whether a plan gets faster."""

import numpy as np
import torch

from paradp.checkpoints import load_policy
from paradp.policy import build_engine
from paradp.policy.engines.timing import time_call
from paradp.scripts.console import each
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.bench import COST_HEADER, Bench
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.registry import study
from paradp.scripts.studies.turns import Ratio, time_in_turns

SEQUENTIAL = "flow-10"
PARALLEL = (
    "para-flow-10:tolerance=0",
    "para-flow-10:tolerance=0.001",
    "para-flow-10:tolerance=0.01",
    "para-flow-10",
    "para-flow-10:split=linear:tolerance=0.01",
    "para-flow-10:split=linear",
    "para-flow-10:window=4",
)
# The alternative to parallel sampling: fewer steps.
FEWER = ("flow-4", "flow-2")
ROWS = (1, 2, 4, 10)


@study
def study_flow_rounds(context: Context, observations: int = 64, repeats: int = 21) -> None:
    """Writes OUT/TASK-flow-rounds.md."""
    checkpoint = context.runs / "checkpoint"
    if not checkpoint.is_dir():
        raise ValueError(f"a flow policy is needed in {checkpoint} (`paradp train {context.task} --process flow`)")
    torch.set_num_threads(1)
    policy = load_policy(checkpoint, SEQUENTIAL)
    bench, names = Bench(policy, observations), (SEQUENTIAL, *PARALLEL, *FEWER)
    measured = {name: bench.measure(name) for name in each("samplers", list(names))}
    policies = [load_policy(checkpoint, name) for name in names]
    times = time_in_turns(policies, bench.histories, repeats)
    rows = []
    for name, taken in zip(names, times, strict=True):
        gain = Ratio.of(times[0], taken)
        latency = [f"{np.median(taken):.1f}", f"{gain.median:.2f} ({gain.low:.2f}–{gain.high:.2f})"]
        rows.append([f"`{name}`", *measured[name].cells(), *latency])
    engine = build_engine(policy.network, policy.spec, policy.device)
    calls = [time_call(engine, policy.spec, policy.device, n) for n in ROWS]
    cost = ", ".join(f"{n} rows {taken / calls[0]:.1f} ×" for n, taken in zip(ROWS[1:], calls[1:], strict=True))
    parameters = sum(one.numel() for one in policy.network.parameters())
    body = f"""
A flow policy for {context.task} ({parameters / 1e6:.1f} million parameters), sampled by Euler's method: with ten sequential
steps, with ten steps in parallel by Picard's iteration, and with fewer steps.

{bench.describe()} Latency is that of a plan for one robot on one thread: medians of {repeats} plans in turns; for the ratio
to `{SEQUENTIAL}`, the median and the middle half of the turns.

{markdown_table(["sampler", *COST_HEADER, "ms a plan", f"{SEQUENTIAL} ÷ this"], rows)}

A call of the network with more rows, compared with one row: {cost}. A round pays if its rows cost less than the
steps that it saves.
"""
    write_report(context.out / f"{context.task}-flow-rounds.md", f"{context.task}: a flow of ten steps in parallel", body)
