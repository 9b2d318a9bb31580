"""A robot of LeRobot in a control loop in real time; a separate thread reads and commands it."""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, Protocol

import numpy as np

from paradp.policy.errors import described
from paradp.policy.observations import Observation, read_observation
from paradp.policy.spec import Interface
from paradp.rollouts.realtime.reports import TickReport
from paradp.rollouts.realtime.wiring import NOTHING, Renamed, Wiring

# A command that has not arrived after this share of a control step is too late: the rest is needed for sending it.
COMMAND_SHARE = 0.9
# Time limit for connecting motors and cameras, and for the first command.
PATIENCE_SECONDS = 120.0
# Time limit for an observation of a connected robot, for example if a camera hangs or a cable is unplugged.
SILENCE_SECONDS = 10.0
# Time limit for the current read or command when the loop ends.
CLOSE_SECONDS = 5.0
_LOG = logging.getLogger(__name__)


class LeRobotDevice(Protocol):
    """The part of `lerobot.robots.Robot` that we use."""

    @property
    def observation_features(self) -> Mapping[str, Any]:
        """Name → type of a value, or height, width and channels of an image."""
        ...

    @property
    def action_features(self) -> Mapping[str, Any]:
        """Name → type of a commanded value."""
        ...

    @property
    def is_connected(self) -> bool:
        """Whether motors and cameras are connected."""
        ...

    @property
    def is_calibrated(self) -> bool:
        """Whether the motors are calibrated."""
        ...

    def connect(self, calibrate: bool = True) -> None:
        """Connects motors and cameras; `calibrate` allows an interactive calibration."""
        ...

    def get_observation(self) -> Mapping[str, Any]:
        """Reads motors and cameras."""
        ...

    def send_action(self, action: dict[str, float]) -> Any:
        """Sends a command; returns the one that was sent after the robot's own limits."""
        ...

    def disconnect(self) -> None:
        """Disconnects motors and cameras."""
        ...


class LeRobotRobot:
    """Runs a robot at a policy's control rate; a late command is replaced by the last one, which is sent again.

    Only one thread uses the device, from connecting to disconnecting, so that Ctrl-C never interrupts a message to a motor.
    When it ends, except by SIGKILL, it commands the robot to hold still and disconnects it.

    Args:
        device: the robot, not connected yet.
        spec: the policy's observations, actions and control rate.
        renamed: the policy's names for LeRobot's quantities.
        seed: seed of the plans' noise.

    Raises:
        ValueError: robot and policy do not fit; the message names the difference.

    Attributes:
        period: seconds of a control step.
    """

    def __init__(self, device: LeRobotDevice, spec: Interface, renamed: Renamed = NOTHING, seed: int = 0):
        self.period = 1 / spec.control_hz
        self._device, self._spec, self._seed = device, spec, seed
        self._wiring = Wiring.of(spec, device.observation_features, device.action_features, renamed)
        self._values: Mapping[str, Any] = {}
        self._sent: np.ndarray | None = None
        self._said: SimpleQueue[TickReport | Exception] = SimpleQueue()
        self._commands: SimpleQueue[tuple[int, np.ndarray | None]] = SimpleQueue()
        self._ready: Future[None] = Future()
        self._going, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._live, name="robot", daemon=True)

    def hold(self, last: np.ndarray | None, observation: Observation) -> np.ndarray:
        """A `Hold`: repeats position goals, and sets velocities to 0."""
        return self._wiring.hold(last, self._values)

    def connect(self) -> None:
        """Connects motors and cameras, and reads one observation; nothing moves yet.

        Raises:
            ConnectionError: the robot cannot be connected, is not calibrated, or its observation is not as declared.
        """
        self._thread.start()
        try:
            self._ready.result(PATIENCE_SECONDS)
        except Exception as error:
            raise ConnectionError(f"the robot cannot be started: {described(error)}") from error

    def reports(self) -> Iterator[TickReport]:
        """Yields reports, see `reports.Robot`; connects the robot before, and starts its first control step."""
        self._going.set()
        while True:
            report = self._next()
            while not (report.began or self._said.empty()):
                report = self._next()
            yield report

    def command(self, tick: int, action: np.ndarray) -> None:
        """Sends the robot the command for a control step; a failure appears in the next report."""
        self._commands.put((tick, action))

    def close(self) -> None:
        """Commands the robot to hold still, and disconnects it."""
        self._closing.set()
        self._going.set()
        self._commands.put((-1, None))
        if self._thread.is_alive():
            self._thread.join(CLOSE_SECONDS)
            if self._thread.is_alive():
                _LOG.warning("the robot does not answer, and could not be disconnected")

    def _next(self) -> TickReport:
        """Returns the robot's next report.

        Raises:
            ConnectionError: the robot has failed, or sends nothing.
        """
        try:
            said = self._said.get(timeout=SILENCE_SECONDS)
        except Empty:
            raise ConnectionError(f"the robot has sent nothing for {SILENCE_SECONDS:.0f} s") from None
        if isinstance(said, Exception):
            raise ConnectionError(f"the robot has failed: {described(said)}") from said
        return said

    def _live(self) -> None:
        failure = None
        try:
            self._device.connect(calibrate=False)  # calibration is interactive
            if not self._device.is_calibrated:
                raise ValueError("it is not calibrated; lerobot-calibrate does it")
            read_observation(self._spec, self._observe())
            self._wiring.check_hold(self._values)
            self._ready.set_result(None)
            self._going.wait()
            self._move()
        except Exception as error:
            failure = error
        self._leave()
        if failure is not None:
            if self._ready.done():
                self._said.put(failure)
            else:
                self._ready.set_exception(failure)

    def _move(self) -> None:
        began = time.perf_counter()
        self._said.put(TickReport(0, self._seed, True, self._observe(), began))
        action = self._command(0, time.perf_counter() + PATIENCE_SECONDS)
        if action is None:
            return
        tick = done = missed = 0
        due = time.perf_counter()
        while not self._closing.is_set():
            self._send(action)
            tick, due = tick + 1, due + self.period
            now = _sleep_until(due)
            self._said.put(TickReport(tick, self._seed, False, self._observe(), now, now - due, missed, done))
            due = max(due, now)  # a late step is not made up for
            rest = (1 - COMMAND_SHARE) * self.period  # also where reading the robot has taken too long
            received = self._command(tick, max(due + self.period, time.perf_counter() + 2 * rest) - rest)
            if received is None:
                missed += 1
            else:
                action, done = received, tick

    def _observe(self) -> dict[str, np.ndarray]:
        self._values = self._device.get_observation()
        return self._wiring.observation(self._values)

    def _send(self, action: np.ndarray) -> None:
        self._sent = action
        self._device.send_action(self._wiring.commands(action))

    def _command(self, tick: int, until: float) -> np.ndarray | None:
        """Returns the command for a control step if it arrives in time; drops late ones. `None` also when the loop ends."""
        while not self._closing.is_set():
            try:
                for_tick, action = self._commands.get(timeout=max(until - time.perf_counter(), 0.0))
            except Empty:
                return None
            if for_tick == tick:
                return action
        return None

    def _leave(self) -> None:
        """Holds and disconnects in separate attempts: motors may still obey if a camera has failed."""
        try:
            if self._sent is not None:
                self._send(self._wiring.hold(self._sent, self._values))
        except Exception as error:
            _LOG.warning("the robot could not be commanded to hold still: %s", described(error))
        try:
            if self._device.is_connected:
                self._device.disconnect()
        except Exception as error:
            _LOG.warning("the robot could not be disconnected: %s", described(error))


def _sleep_until(due: float) -> float:
    """Sleeps until a time; returns the time afterwards."""
    if (left := due - time.perf_counter()) > 0:
        time.sleep(left)
    return time.perf_counter()
