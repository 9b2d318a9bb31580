"""What a plan should take on several devices: a model of rounds, calls of the network, transfers and launches."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

DEVICES = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Calls:
    """Seconds of a call on one device by its rows: on lines between those that were measured.

    Beyond them it goes on as the steeper of the last line and the one through the first and the last: a few rows can cost
    nothing more, many cannot.

    Attributes:
        seconds: by rows, of two numbers of rows at least.
    """

    seconds: Mapping[int, float]

    def __call__(self, rows: int) -> float:
        known = sorted(self.seconds)
        taken = [self.seconds[n] for n in known]
        if rows <= known[-1]:
            return float(np.interp(rows, known, taken))
        slope = max((taken[-1] - taken[i]) / (known[-1] - known[i]) for i in (0, -2))
        return taken[-1] + max(0.0, slope) * (rows - known[-1])


@dataclass(frozen=True)
class NetworkTimes:
    """A network on a kind of device.

    Attributes:
        parameters: how many.
        row_bytes: that a row sends to another device and back.
        calls: what a call takes there.
    """

    parameters: int
    row_bytes: int
    calls: Calls


@dataclass(frozen=True)
class Link:
    """Seconds that a message takes at least, and bytes a second from then on."""

    latency: float
    bandwidth: float


@dataclass(frozen=True)
class Cluster:
    """How devices are joined, and what goes on beside the network.

    Attributes:
        near, far: within a machine, and to the devices of other machines.
        machine: devices of a machine.
        round: seconds of a round that several devices share, beside calls and transfers: made by Python, not captured.
        launch: seconds of the host a round and device, one device after the other.
    """

    near: Link
    far: Link
    machine: int
    round: float
    launch: float


@dataclass(frozen=True)
class PredictedPlan:
    """What a plan should take.

    Attributes:
        window: steps a round and robot; 1 is one step after another.
        seconds: of a plan.
        share: rows of the device that has most.
    """

    window: int
    seconds: float
    share: int


def transfer(network: NetworkTimes, cluster: Cluster, devices: int, rows: int) -> float:
    """Seconds a round: rows leave the first device and their answers come back, on the links of the first.

    The same links carry the rows of all the others; the first device keeps its own share.
    """
    if devices == 1:
        return 0.0
    inside = min(devices, cluster.machine) - 1
    seconds = 2 * cluster.near.latency + network.row_bytes * rows * inside / devices / cluster.near.bandwidth
    if devices <= cluster.machine:
        return seconds
    outside = devices - cluster.machine
    return seconds + 2 * cluster.far.latency + network.row_bytes * rows * outside / devices / cluster.far.bandwidth


def round_seconds(network: NetworkTimes, cluster: Cluster, devices: int, rows: int) -> float:
    """Of a round with so many rows; fewer rows than devices use fewer devices."""
    used = min(devices, rows)
    seconds = network.calls(math.ceil(rows / used)) + transfer(network, cluster, used, rows)
    return seconds if used == 1 else seconds + cluster.round + used * cluster.launch


def rounds_of_batch(made: Sequence[int], batch: int) -> float:
    """Expected rounds of the slowest of so many robots, from the rounds of some plans."""
    share = np.array(made)[:, None] > np.arange(max(made))
    return float((1 - (1 - share.mean(0)) ** batch).sum())


def best_plan(
    network: NetworkTimes, cluster: Cluster, rounds: Mapping[int, Sequence[int]], own: float, batch: int, devices: int
) -> PredictedPlan:
    """With the window that is fastest for that many devices.

    Args:
        network, cluster: what computes.
        rounds: of some plans, by window.
        own: seconds of a plan beside its rounds.
        batch: robots planned together; a call has `batch` times window rows.
        devices: how many.
    """
    plans = [
        PredictedPlan(
            window,
            own + rounds_of_batch(made, batch) * round_seconds(network, cluster, devices, batch * window),
            math.ceil(batch * window / min(devices, batch * window)),
        )
        for window, made in rounds.items()
    ]
    return min(plans, key=lambda plan: plan.seconds)
