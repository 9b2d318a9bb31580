"""A robot of LeRobot, driven by `paradp drive`. Runs where LeRobot, paradp and `lerobot_robot_dials` are installed.

python tests/lerobot_robot.py FOLDER            # prints "the robot was driven" at its end

FOLDER has `policy`, a checkpoint of LeRobot's for three values and two cameras, with its `paradp.yaml`.
"""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path


def driven(folder: Path, robot: str, out: str) -> subprocess.CompletedProcess:
    """Drives it for some seconds."""
    command = [Path(sys.executable).with_name("paradp"), "drive", "--robot", robot, "--checkpoint", folder / "policy"]
    how = ["--sampler", "ddim-2", "--engine", "eager", "--minutes", "0.1", "--out", folder / out]
    return subprocess.run([str(word) for word in (*command, *how)], capture_output=True, text=True, cwd=folder)


def check_a_robot(folder: Path) -> None:
    done = driven(folder, f"dials:{{diary: {folder / 'diary'}}}", "driven")
    assert done.returncode == 0, done.stderr
    told = json.loads((folder / "driven/drive.json").read_text())
    happened = [json.loads(line) for line in (folder / "diary").read_text().splitlines()]
    assert told["ticks"] > 10 and told["plans"] >= 1 and told["unsafe"] == 0, told
    assert [one["what"] for one in happened].count("commanded") > 10
    assert happened[0]["what"] == "connected" and happened[-1]["what"] == "disconnected"


def check_what_is_refused(folder: Path) -> None:
    for robot, said in (
        ("dials:breaks_at=9", "paradp: the robot has failed: dial_1 does not answer"),
        ("dials:calibrated=false", "paradp: the robot cannot be started: it is not calibrated; lerobot-calibrate does it"),
        ("dials:views=1", "paradp: the robot has no camera 'camera1', which the policy looks through; it has: camera0"),
        ("dials:dails=1", "paradp: the robot 'dials' cannot be made: DecodingError: The fields `dails` are not valid for"),
        (
            "so101_follower",
            "paradp: the robot 'so101_follower' cannot be made: DecodingError: Missing required field(s) `port`",
        ),
        ("dails", "paradp: LeRobot has no robot 'dails'; there are: "),
    ):
        done = driven(folder, robot, robot.replace(":", "-"))
        assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr, (robot, done.stderr)


if __name__ == "__main__":
    assert not any(find_spec(name) for name in ("robosuite", "mujoco"))
    place = Path(sys.argv[1]).resolve()
    check_a_robot(place)
    check_what_is_refused(place)
    print("the robot was driven")
