"""A robot for tests, as a plugin for LeRobot: dials that follow commands, a wheel, and cameras.

It writes what happens to it into a file, a JSON object a line.
"""

import json
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from lerobot.robots import Robot, RobotConfig

try:
    from lerobot.utils.errors import DeviceNotConnectedError
except ModuleNotFoundError:  # the stand-in
    DeviceNotConnectedError = ConnectionError  # type: ignore[misc, assignment]


@RobotConfig.register_subclass("dials")
@dataclass
class DialsConfig(RobotConfig):
    dials: int = 3
    wheel: bool = False  # a velocity more
    views: int = 2  # cameras
    height: int = 64
    width: int = 72
    calibrated: bool = True
    read_ms: float = 0.0  # that reading takes
    breaks_at: int = 0  # the observation at which a cable comes out
    diary: str = ""


class Dials(Robot):
    config_class = DialsConfig
    name = "dials"

    def __init__(self, config: DialsConfig):
        super().__init__(config)
        self.config, self._connected, self._read = config, False, 0
        self._at = {name: 0.0 for name in self._values}
        self._pictures = np.random.default_rng(0)

    @property
    def _values(self) -> list[str]:
        return [*(f"dial_{number}.pos" for number in range(self.config.dials)), *["wheel.vel"] * self.config.wheel]

    @cached_property
    def observation_features(self) -> dict[str, Any]:
        shape = (self.config.height, self.config.width, 3)
        return dict.fromkeys(self._values, float) | {f"camera{number}": shape for number in range(self.config.views)}

    @cached_property
    def action_features(self) -> dict[str, Any]:
        return dict.fromkeys(self._values, float)

    @property
    def is_connected(self) -> bool:
        return self._connected

    @property
    def is_calibrated(self) -> bool:
        return self.config.calibrated

    def connect(self, calibrate: bool = True) -> None:
        assert not calibrate, "it would ask questions"
        self._connected = True
        self._note("connected")

    def calibrate(self) -> None:
        raise AssertionError("it would ask questions")

    def configure(self) -> None: ...

    def get_observation(self) -> dict[str, Any]:
        self._read += 1
        time.sleep(self.config.read_ms / 1000)
        if self._read == self.config.breaks_at:
            raise DeviceNotConnectedError("dial_1 does not answer")
        seen: dict[str, Any] = {name: at + 1e-4 * self._read for name, at in self._at.items()}
        for number in range(self.config.views):
            shape = (self.config.height, self.config.width, 3)
            seen[f"camera{number}"] = self._pictures.integers(0, 256, shape, np.uint8)
        return seen

    def send_action(self, action: dict[str, float]) -> dict[str, float]:
        assert self._connected and list(action) == list(self.action_features)
        self._at = dict(action)
        self._note("commanded", **action)
        return action

    def disconnect(self) -> None:
        self._connected = False
        self._note("disconnected")

    def _note(self, what: str, **values: float) -> None:
        if self.config.diary:
            with open(self.config.diary, "a") as diary:
                diary.write(json.dumps({"what": what, "at": time.perf_counter(), **values}) + "\n")
