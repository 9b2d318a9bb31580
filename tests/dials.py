"""The robot `dials` (tests/lerobot_robot_dials), where a stand-in takes LeRobot's place."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
FOLDERS = [str(HERE / "lerobot_stand_in"), str(HERE / "lerobot_robot_dials")]
_MODULES = ("lerobot", "draccus", "lerobot_robot_dials")


@contextmanager
def stand_in() -> Iterator[None]:
    """Replaces LeRobot by the stand-in, which contains the robot, during a test."""
    with pytest.MonkeyPatch.context() as patch:
        for folder in FOLDERS:
            patch.syspath_prepend(folder)
        for name in [name for name in sys.modules if name.partition(".")[0] in _MODULES]:
            patch.delitem(sys.modules, name)
        yield
        for name in [name for name in sys.modules if name.partition(".")[0] in _MODULES]:
            del sys.modules[name]


def written(diary: Path) -> list[dict[str, Any]]:
    """The recorded events of the robot."""
    return [json.loads(line) for line in diary.read_text().splitlines()]


def commands(diary: Path) -> list[list[float]]:
    """The recorded commands, without times."""
    return [list(one.values())[2:] for one in written(diary) if one["what"] == "commanded"]
