"""`paradp drive --rerun`: the recording ends after the robot is at rest, and its errors do not hide others."""

import pytest

from paradp.rollouts.realtime import rerun_recording
from paradp.scripts.recording import recorded_drive


class FullDisk:
    """A recording that fails when it is closed."""

    def __init__(self, *arguments, **settings): ...

    def step(self, *arguments): ...

    def close(self):
        raise OSError("no space left on the device")


@pytest.fixture(autouse=True)
def full_disk(monkeypatch):
    monkeypatch.setattr(rerun_recording, "RerunRecording", FullDisk)


def test_a_failed_recording_is_an_error(spec, tmp_path):
    done = []
    with pytest.raises(OSError, match="no space left"), recorded_drive(tmp_path / "a.rrd", spec):
        done.append("driven and reported")
    assert done == ["driven and reported"]


def test_a_failed_recording_does_not_hide_the_error_that_ended_the_drive(spec, tmp_path):
    with pytest.raises(ValueError, match="the robot is gone"), recorded_drive(tmp_path / "a.rrd", spec):
        raise ValueError("the robot is gone")
