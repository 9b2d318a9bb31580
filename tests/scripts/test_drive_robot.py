"""`paradp drive --robot` with a checkpoint of LeRobot, without simulators; with a substitute for LeRobot."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from dials import FOLDERS, commands, stand_in, written
from lerobot_fixtures import put_together

from paradp.checkpoints.finding import FILES
from paradp.policy.spec import Interface
from paradp.scripts.main import main
from paradp.scripts.robots import ByLeRobot, RobotChoice

FACTS = "task: reach\ncontrol_hz: 10\naction_low: [-1000, -1000, -1000]\naction_high: [1000, 1000, 1000]\n"
# Python's own hook: these cannot be imported, in processes that are started, too.
ABSENT = """
from importlib.machinery import PathFinder
found = PathFinder.find_spec
absent = {"robosuite", "mujoco", "gymnasium", "gym_pusht", "pymunk", "shapely", "av", "pandas", "pyarrow", "scipy", "zarr"}
PathFinder.find_spec = classmethod(lambda cls, name, *rest: None if name.partition(".")[0] in absent else found(name, *rest))
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = put_together("shared_encoder", tmp_path_factory.mktemp("theirs") / "policy")
    (folder / "paradp.yaml").write_text(FACTS)
    return folder


@pytest.fixture
def start(checkpoint, tmp_path):
    """Starts the command in an environment with LeRobot's substitute, with settings of the dials."""
    (tmp_path / "sitecustomize.py").write_text(ABSENT)
    path = os.pathsep.join([str(tmp_path), *FOLDERS, *filter(None, [os.environ.get("PYTHONPATH")])])

    def run(robot: str, *arguments: object) -> subprocess.Popen:
        command = [sys.executable, "-m", "paradp.scripts", "drive", "--robot", f"dials:diary={tmp_path}/diary{robot}"]
        policy = ["--checkpoint", checkpoint, "--sampler", "ddim-2", "--engine", "eager", "--plans", "thread"]
        environment = os.environ | {"PYTHONPATH": path, "COLUMNS": "200"}
        return subprocess.Popen(
            [*command, *map(str, policy), *map(str, arguments)],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # whoever runs the tests may ignore it
        )

    return run


def test_an_unplugged_robot_ends_the_command_with_a_sentence_and_keeps_measurements(start, tmp_path):
    process = start(",breaks_at=30", "--out", "out", "--trace", "trace.json")
    printed, said = process.communicate(timeout=300)
    assert process.returncode == 2 and said.strip() == "paradp: the robot has failed: dial_1 does not answer"
    told = json.loads((tmp_path / "out/drive.json").read_text())
    assert told["ticks"] > 5 and told["plans"] >= 1 and (tmp_path / "trace.json").is_file() and "control steps" in printed
    happened = [one["what"] for one in written(tmp_path / "diary")]
    assert happened[0] == "connected" and happened[-1] == "disconnected" and len(commands(tmp_path / "diary")) > 5


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_and_disconnects_the_robot(start, tmp_path, sign):
    """Ctrl-C, a service manager, and a connection that was lost."""
    process = start("", "--out", "out")
    until = time.monotonic() + 250
    while not ((tmp_path / "diary").exists() and len(commands(tmp_path / "diary")) > 5):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.1)
    process.send_signal(sign)
    printed, said = process.communicate(timeout=60)
    assert process.returncode == 0 and "interrupted" in printed and not said
    assert written(tmp_path / "diary")[-1]["what"] == "disconnected" and (tmp_path / "out/drive.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name a task, whose robot is simulated, or a robot of LeRobot: --robot TYPE --checkpoint NAME"),
        (
            ["lift", "--robot", "dials"],
            "a task stands for its simulated robot: leave out 'lift' with --robot, and give the policy with --checkpoint",
        ),
        (["lift", "--robot", "dials", "--checkpoint", "lift"], "simulated robot: leave out 'lift' with --robot."),
        (["--robot", "dials", "--disturbance", "push"], "--disturbance is for a simulated robot"),
        (["--robot", "dials"], "--robot needs the policy that drives it: --checkpoint"),
        (["--robot", "dials:views"], "--robot dials:views should read TYPE, TYPE:key=value,… or TYPE:{key: value, …}"),
        (["--robot", "dials:{views: [}"], "its settings cannot be read"),
        (["--robot", "dails", "--checkpoint", "HERE"], "LeRobot has no robot 'dails'; there are: dials"),
        (["--robot", "dials:views=1", "--checkpoint", "HERE"], "the robot has no camera 'camera1'"),
        (
            ["--robot", "dials:{width: 70}", "--checkpoint", "HERE"],
            "camera0' has images of (64, 70, 3), the policy was trained",
        ),
        (["--robot", "dials:dials=4", "--checkpoint", "HERE"], "observation.state has 3 values, the robot's 4: dial_0.pos,"),
    ],
)
def test_a_robot_that_does_not_fit_is_refused_in_a_sentence(arguments, said, checkpoint, monkeypatch, capsys):
    typed = [str(checkpoint) if argument == "HERE" else argument for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["paradp", "drive", *typed])
    with stand_in(), pytest.raises(SystemExit) as ended:
        main()
    told = " ".join(capsys.readouterr().err.split())
    assert ended.value.code == 2 and said in f"{told}." and told.startswith("paradp: ")


RENAMED = Interface("reach", {"joints": 3}, {"arm": 2, "wheel": 1}, (-9.0,) * 3, (9.0,) * 3, "as recorded", 10)
NAMES = "observation: {observation.state: {joints: 3}}\naction: {arm: 2, wheel: 1}\n"


def test_a_policy_with_names_of_its_own_needs_the_file_of_its_data_set(tmp_path):
    for name in FILES:
        (tmp_path / name).touch()
    with stand_in():
        body = ByLeRobot("dials:dials=2,wheel=true", str(tmp_path), seed=0)
        with pytest.raises(
            ValueError, match=r"does not observe 'joints'.*; if paradp\.yaml of .* copy it to .*/paradp\.yaml$"
        ):
            body.prepare(RENAMED)
        (tmp_path / "paradp.yaml").write_text(NAMES)
        assert callable(body.prepare(RENAMED))
        (tmp_path / "paradp.yaml").write_text(NAMES.replace("joints", "knobs"))
        with pytest.raises(ValueError, match=r"does not observe 'joints', [^;]*; its values are: [^;]*$"):
            body.prepare(RENAMED)


def test_without_lerobot_the_error_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr("paradp.scripts.robots.find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["paradp", "drive", "--robot", "dials", "--checkpoint", "mine"])
    with pytest.raises(SystemExit):
        main()
    assert "--robot needs LeRobot, which is not installed: pip install lerobot" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "kind", "settings"),
    [
        ("lekiwi", "lekiwi", {}),
        ("so101_follower:port=/dev/ttyACM0,id=blue,use_degrees=false", "so101_follower", None),
        ("so101_follower:{port: /dev/ttyACM0, id: blue, use_degrees: false}", "so101_follower", None),
        (
            'x:{"cameras": {"front": {"type": "opencv", "fps": 30}}}',
            "x",
            {"cameras": {"front": {"type": "opencv", "fps": 30}}},
        ),
    ],
)
def test_a_robot_takes_the_options_of_lerobot(text, kind, settings):
    wanted = {"port": "/dev/ttyACM0", "id": "blue", "use_degrees": False} if settings is None else settings
    assert RobotChoice.parse(text) == RobotChoice(kind, wanted)
