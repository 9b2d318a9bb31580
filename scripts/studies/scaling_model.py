"""A model of a plan's latency on several devices, from rounds, network calls, transfers and launches."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

DEVICES = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Calls:
    """Duration of a call on one device by its number of rows, interpolated linearly between measurements.

    Beyond the last measurement it is extrapolated with the steeper slope of two lines: through the last two measurements,
    and through the first and the last. A few more rows may cost nothing, but many more rows cannot.

    Attributes:
        seconds: number of rows → seconds, with at least two entries.
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
        parameters: number of parameters.
        row_bytes: bytes that are sent to another device and back for each row.
        calls: duration of a call.
    """

    parameters: int
    row_bytes: int
    calls: Calls


@dataclass(frozen=True)
class Link:
    """A connection between devices: least seconds of a message, and bytes per second."""

    latency: float
    bandwidth: float


@dataclass(frozen=True)
class Cluster:
    """Connections of the devices, and the host's time.

    Attributes:
        near, far: connections within a machine, and to the devices of other machines.
        machine: number of devices in a machine.
        round: seconds of a round on several devices besides calls and transfers, because Python runs it without capture.
        launch: seconds of the host for each round and device, one device after the other.
    """

    near: Link
    far: Link
    machine: int
    round: float
    launch: float


@dataclass(frozen=True)
class PredictedPlan:
    """The predicted latency of a plan.

    Attributes:
        window: steps per round and robot; 1 is sequential sampling.
        seconds: latency of a plan.
        share: rows of the device with the most rows.
    """

    window: int
    seconds: float
    share: int


def transfer(network: NetworkTimes, cluster: Cluster, devices: int, rows: int) -> float:
    """Seconds of the transfers in a round: rows go from the first device to the others, and predictions come back.

    All of them share the links of the first device, which keeps its own share of the rows.
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
    """Seconds of a round with this number of rows; fewer rows than devices use fewer devices."""
    used = min(devices, rows)
    seconds = network.calls(math.ceil(rows / used)) + transfer(network, cluster, used, rows)
    return seconds if used == 1 else seconds + cluster.round + used * cluster.launch


def rounds_of_batch(counts: Sequence[int], batch: int) -> float:
    """Expected rounds of the slowest of `batch` robots, from the rounds of single plans."""
    share = np.array(counts)[:, None] > np.arange(max(counts))
    return float((1 - (1 - share.mean(0)) ** batch).sum())


def best_plan(
    network: NetworkTimes, cluster: Cluster, rounds: Mapping[int, Sequence[int]], own: float, batch: int, devices: int
) -> PredictedPlan:
    """The predicted plan with the fastest window for this number of devices.

    Args:
        network, cluster: the network and the devices.
        rounds: window → rounds of single plans.
        own: seconds of a plan besides its rounds.
        batch: robots planned together; a call has `batch` × window rows.
        devices: number of devices.
    """
    plans = [
        PredictedPlan(
            window,
            own + rounds_of_batch(counts, batch) * round_seconds(network, cluster, devices, batch * window),
            math.ceil(batch * window / min(devices, batch * window)),
        )
        for window, counts in rounds.items()
    ]
    return min(plans, key=lambda plan: plan.seconds)
