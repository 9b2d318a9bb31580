"""Predicts the gain of 1 to 32 devices from measured network calls and rounds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from matplotlib.figure import Figure

from paradp.checkpoints import load_policy
from paradp.policy.wording import counted
from paradp.rollouts.machine import hardware
from paradp.scripts.canvas import panels, save
from paradp.scripts.console import each
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.published import Page
from paradp.scripts.studies.registry import drawing, study
from paradp.scripts.studies.scaling_inputs import (
    BATCHES,
    OBSERVATIONS,
    SAMPLERS,
    SEED,
    WIDER,
    PublishedGpu,
    copied_bytes,
    host_seconds,
    measure_calls,
    rounds_of,
)
from paradp.scripts.studies.scaling_model import (
    DEVICES,
    Cluster,
    Link,
    NetworkTimes,
    PredictedPlan,
    best_plan,
    rounds_of_batch,
)

# Assumptions about GPUs, not measured: NVLink of an H100 or H200, 450 GB/s each way; 400 Gb/s between machines of eight. The
# host takes 5 µs for each copy, event or graph that it launches. There are eight for each device: wait, three inputs, graph,
# answer, event, wait. In addition, a round launches two kernels, and the host waits for the number of finished environments.
NVLINK, NETWORK, CARDS = Link(5e-6, 450e9), Link(20e-6, 50e9), 8
LAUNCH, LAUNCHES, ROUND = 5e-6, 8, 30e-6
GAIN_HEADER = ["computed on", "M parameters", "robots", "steps", "launches", *map(str, DEVICES)]
# Values of the column `launches`: whether the host's time for launching is counted.
COUNTED, FREE = "counted", "free"

Predictions = Mapping[tuple[str, ...], list[PredictedPlan]]
Rounds = Mapping[int, Mapping[int, Sequence[int]]]


@dataclass(frozen=True)
class ThisMachine:
    """The measurements on this machine.

    Attributes:
        name, engine: the processor or GPU, and the engine.
        networks: network times, smallest network first.
        host: the host's time in seconds for spreading a call, per device.
        copied: bytes per second of a copy in memory.
    """

    name: str
    engine: str
    networks: list[NetworkTimes]
    host: float
    copied: float


@study
def study_scaling(context: Context) -> None:
    """Writes scaling.md and its picture."""
    torch.set_num_threads(1)  # on a CPU, each core counts as a device
    policy = load_policy(context.task, "ddpm", context.device)
    published = PublishedGpu.read(context.out / "gpu", policy.spec)
    rounds = dict(rounds_of(policy))
    name = hardware(context.device).get("gpu", hardware()["cpu"]).replace("(R)", "")
    engine = "eager" if policy.device.type == "cpu" else "cuda-graph"
    networks = [measure_calls(policy, factor) for factor in each("calls of the network", WIDER[policy.device.type])]
    local = ThisMachine(name, engine, networks, host_seconds(policy), copied_bytes(policy.device))
    page = context.out / "scaling.md"
    write_report(page, "What several devices should gain", _body(context.task, published, local, rounds))
    draw_scaling(page)


def _predicted(published: PublishedGpu, local: ThisMachine, rounds: Rounds) -> Predictions:
    """(machine, size, robots, steps, launches) → the predicted plan for each number of devices."""
    cards = Cluster(NVLINK, NETWORK, CARDS, ROUND, LAUNCHES * LAUNCH + local.host)
    copies = Link(0.0, local.copied)
    processors = Cluster(copies, copies, max(DEVICES), 0.0, local.host)
    machines = [
        (published.card, network, cards, batch, published.own[batch]) for network in published.networks for batch in BATCHES
    ]
    machines += [(local.name, network, processors, BATCHES[0], 0.0) for network in local.networks]
    found: dict[tuple[str, ...], list[PredictedPlan]] = {}
    for steps, by_window in rounds.items():
        for name, network, cluster, batch, own in machines:
            for launches, of in ((COUNTED, cluster), (FREE, replace(cluster, round=0.0, launch=0.0))):
                key = (name, _size(network), str(batch), str(steps), launches)
                found[key] = [best_plan(network, of, by_window, own, batch, devices) for devices in DEVICES]
    return found


@drawing()
def draw_scaling(path: Path) -> Figure:
    """Draws the picture of the page from its table of gains."""
    rows = [row for row in Page(path).table(*GAIN_HEADER) if row["steps"] == "100"]
    cases = list(dict.fromkeys((row["computed on"], row["robots"]) for row in rows))
    figure, axes = panels(len(cases), 3.8)
    for axis, (machine, robots) in zip(axes, cases, strict=True):
        of = [row for row in rows if (row["computed on"], row["robots"]) == (machine, robots)]
        sizes = list(dict.fromkeys(row["M parameters"] for row in of))
        for row in of:
            gains, colour = [float(row[str(n)]) for n in DEVICES], f"C{sizes.index(row['M parameters'])}"
            line = "-" if row["launches"] == COUNTED else "--"
            axis.plot(
                DEVICES, gains, line, marker="o", ms=3, color=colour, label=f"{row['M parameters']} M, {row['launches']}"
            )
        axis.set(xscale="log", yscale="log", xlabel="devices", ylabel="times as fast as one device")
        axis.set_title(f"{machine[:24]}, {counted(int(robots), 'robot')}")
        axis.set_xticks(DEVICES, [*map(str, DEVICES)])
        axis.set_yticks((0.5, 1, 2, 4, 8, 16), ("½", "1", "2", "4", "8", "16"))
        axis.minorticks_off()
        axis.legend(title="launches", title_fontsize=8, fontsize=8, handlelength=4)
    save(figure, path.with_suffix(".png"))
    return figure


# Long: the text of the page, which is easier to read in one piece.
def _body(task: str, published: PublishedGpu, local: ThisMachine, rounds: Rounds) -> str:
    predicted = _predicted(published, local, rounds)
    gains = [[*key, *(f"{plans[0].seconds / plan.seconds:.2f}" for plan in plans)] for key, plans in predicted.items()]
    times = [[*key, *(f"{1000 * plan.seconds:.2f} ({plan.window})" for plan in plans)] for key, plans in predicted.items()]
    beside = ", ".join(f"{1000 * seconds:.2f} ms with {counted(n, 'robot')}" for n, seconds in published.own.items())
    calls = [*_calls(published.card, published.networks), *_calls(local.name, local.networks)]
    checked = list(_checked(published, rounds[100]))
    card, threads = published.card, counted(torch.get_num_threads(), "thread")
    return f"""
**A prediction: no machine with several GPUs was at hand.** `--device cuda:0,cuda:1` spreads the rows of every call over
devices. Tests on CPUs compare the samples with those of one device. The gain on GPUs has not been measured. This page
predicts it from measurements of network calls on one {card} ([gpu](gpu.md)) and on this machine, and of rounds by window.

{chr(10).join(f"- {line}" for line in _findings(predicted, card))}

## Assumptions

A plan takes its own cost + rounds(window) × (t(⌈rows ÷ devices⌉) + transfer + launches), with rows = robots × window, and
the window that is fastest for that number of devices. On one device the rounds run in a captured graph, so no launches are
counted.

- **Measured on one {card}**, bf16: t(rows), with the kernels that the engine chooses, interpolated linearly between 1, 20
  and 50 rows, and extrapolated with the steeper of the slopes from 20 to 50 and from 1 to 50. A plan's own cost, the
  median time outside the network in plans of 100 steps: {beside}.
- **Measured here** ({local.name}, {threads}): rounds of the shipped {task} policy, {OBSERVATIONS} observations along the
  scripted expert's episodes from seed {SEED}, one noise path each; for several robots the expected rounds of the slowest.
  Larger networks are the policy's with every channel copied, so that their rounds are the same. t(rows) with the
  {local.engine} engine, a median. The host's own time for spreading a call: {1e6 * local.host:.0f} µs per device. A copy in
  memory: {local.copied / 1e9:.1f} GB/s.
- **Assumed for GPUs**: {CARDS} in a machine, connected by NVLink ({NVLINK.bandwidth / 1e9:.0f} GB/s each way,
  {1e6 * NVLINK.latency:.0f} µs per message), machines connected by {8 * NETWORK.bandwidth / 1e9:.0f} Gb/s and
  {1e6 * NETWORK.latency:.0f} µs per message; rows go from the first device to the others, and predictions come back. Python
  runs the rounds over several devices: a device costs {LAUNCHES} launches of {1e6 * LAUNCH:.0f} µs and the host's own time
  above, one device after the other, and a round {1e6 * ROUND:.0f} µs more. `launches free` is a bound: as if a single launch
  without cost started all devices. paradp spreads rows over the devices of one machine only; more than {CARDS} would need
  new code.
- **Assumed for CPUs**: each computes as fast as this machine, shares nothing with the others except memory as fast as this
  machine's, and costs the host's own time above. Only the rounds of a plan are counted.

## Times as fast as one device

{markdown_table(GAIN_HEADER, gains)}

100 steps sample exactly DDPM-100's distribution; 20 steps that of DDPM with 20 steps, `{SAMPLERS[20][0]}`.

![what several devices should gain, 100 steps](scaling.png)

## Milliseconds of a plan, and its window

{markdown_table(["on", *GAIN_HEADER[1:]], times)}

## Inputs

Mean rounds; a window of 1 is sequential sampling:

{markdown_table(["steps", "window", "rounds, 1 robot", f"rounds, slowest of {BATCHES[-1]}"], _rounds_rows(rounds))}

Calls, and the bytes sent and received for a row:

{markdown_table(["calls on", "M parameters", "bytes a row", "ms (rows)"], calls)}

The model for one device compared with the p50 measured on one {card}, 100 steps:

{markdown_table(["sampler", "M parameters", "robots", "window", "model, ms", "measured, ms"], checked)}
"""


def _findings(predicted: Predictions, card: str) -> Iterator[str]:
    """Sentences with the largest gain of exact sampling on GPUs, for each network and number of robots."""
    for (machine, size, robots, steps, launches), plans in predicted.items():
        if (machine, steps, launches) != (card, "100", COUNTED):
            continue
        gain, devices = largest_gain(plans)
        bound, most = largest_gain(predicted[machine, size, robots, steps, FREE])
        several = f"{gain:.2f} times as fast ({devices} devices)" if devices > 1 else "slower"
        alone = f"{1000 * plans[0].seconds:.2f} ms on one device"
        free = f"{bound:.2f} times with {most}" if most > 1 else "no faster either"
        of = f"{card}, exact, {size} M parameters, {counted(int(robots), 'robot')}"
        yield f"{of}: {alone}; with several {several}. Were launches free: {free}."


def largest_gain(plans: Sequence[PredictedPlan]) -> tuple[float, int]:
    """The largest gain of several devices, and the smallest number of devices that comes within 2 % of it."""
    gains = [plans[0].seconds / plan.seconds for plan in plans]
    return next((gain, devices) for gain, devices in zip(gains, DEVICES, strict=True) if gain >= 0.98 * max(gains))


def _size(network: NetworkTimes) -> str:
    return f"{network.parameters / 1e6:.1f}"


def _rounds_rows(rounds: Rounds) -> list[list[str]]:
    return [
        [str(steps), str(window), *(f"{rounds_of_batch(counts, batch):.1f}" for batch in BATCHES)]
        for steps, by_window in rounds.items()
        for window, counts in by_window.items()
    ]


def _calls(name: str, networks: list[NetworkTimes]) -> Iterator[list[str]]:
    for network in networks:
        taken = ", ".join(f"{1000 * seconds:.3g} ({rows})" for rows, seconds in network.calls.seconds.items())
        yield [name, _size(network), str(network.row_bytes), taken]


def _checked(published: PublishedGpu, rounds: Mapping[int, Sequence[int]]) -> Iterator[list[str]]:
    """Rows that compare published plans with the model, for windows whose rounds were measured."""
    alone = Cluster(NVLINK, NETWORK, CARDS, 0.0, 0.0)
    for row in published.plans:
        sampler, _, option = row["sampler"].partition(":window=")
        window = int(option or 20)  # the default
        network = next((one for one in published.networks if one.parameters == row["parameters"]), None)
        batch = row["batch"]
        if sampler == "speculative-ddpm" and window in rounds and network is not None and batch in published.own:
            plan = best_plan(network, alone, {window: rounds[window]}, published.own[batch], batch, 1)
            modelled, measured = f"{1000 * plan.seconds:.2f}", f"{row['p50_ms']:.2f}"
            yield [row["name"], _size(network), str(batch), str(window), modelled, measured]
