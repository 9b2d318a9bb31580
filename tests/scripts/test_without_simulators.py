"""`paradp[train]` is enough for a computer that only trains, such as a GPU node without simulators.

The tests hide packages as if they were not installed: all that `paradp[train]` does not install, or only some, because
finding one package must not lead to an import of another.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DATA = Path(__file__).parents[1] / "data/behaviour"
STORE = DATA / "demonstrations.zarr"
SIMULATORS = ("robosuite", "mujoco", "gymnasium_robotics", "gym_pusht", "pymunk", "shapely", "av")
OTHERS = ("gymnasium", "scipy", "h5py", "pandas", "imageio", "ray")
COMPILERS = ("numba", "llvmlite", "openvino")  # absent always: what they compile takes a while
ABSENT = {"everything": SIMULATORS + COMPILERS + OTHERS, "gymnasium is there": SIMULATORS + COMPILERS}
SITE = """
from importlib.machinery import PathFinder

found = PathFinder.find_spec

def find_spec(cls, name, path=None, target=None):
    return None if name.partition(".")[0] in {absent!r} else found(name, path, target)

PathFinder.find_spec = classmethod(find_spec)
"""
# Little is measured, and all of it is one process: PyTorch is imported once.
SHORT = """
import sys
import paradp.policy.engines.autotune.autotuner as autotuner, paradp.policy.learning.draft as draft
import paradp.rollouts.evaluation.fidelity as fidelity, paradp.scripts.planning_time as planning_time
from paradp.scripts.main import main

autotuner.TRIALS, autotuner.MOST_ROWS, draft._PLANS, draft._STEPS = 2, 2, 2, 1
draft.SAMPLERS = ("speculative-ddpm-10:window=4:draft=trained",) * 2
fidelity.STEPS, fidelity.FITTED, fidelity.TRAJECTORIES = ("ddim-5",), (3,), 1
fidelity.FEW, fidelity.ETAS = (2,), (1.0, 2.5)
planning_time.SAMPLERS, planning_time.SOME_SAMPLERS = ("ddpm", "auto", "auto-fast", "ddim-5"), ("ddpm",)
planning_time.TAIL_PLANS = 2
for line in sys.stdin:
    sys.argv = ["paradp", *line.split()]
    main()
    print("ended:", line)
"""
HELP = """
import sys
from paradp.scripts.main import COMMANDS, main
for name in COMMANDS:
    sys.argv = ["paradp", *name.split(), "--help"]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, name
"""


@pytest.fixture(params=ABSENT)
def without(request, tmp_path):
    """Runs Python in a folder without those packages, in processes that it starts, too."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SITE.format(absent=set(ABSENT[request.param])))
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    work = tmp_path / "work"
    work.mkdir()

    def run(*arguments: object, typed: str = "") -> subprocess.CompletedProcess:
        environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, input=typed, cwd=work, env=environment, capture_output=True, text=True, timeout=300)

    run.folder = work
    return run


def test_importing_the_environments_imports_no_simulator():
    """Even if they are installed. gymnasium knows the tasks if it is imported later."""
    program = f"""
import sys, paradp.envs
print(paradp.envs.find_task("pusht").task.things, paradp.envs.ACTION_CONVENTIONS["delta"].low.tolist())
assert not [name for name in {SIMULATORS + COMPILERS + OTHERS!r} if name in sys.modules]
import gymnasium
assert {{entry.task.env_id for entry in paradp.envs.all_tasks().values()}} <= set(gymnasium.registry)
assert gymnasium.spec("paradp/Lift-v0").max_episode_steps == 400
assert paradp.envs.ACTION_CONVENTIONS["position"].space == gymnasium.spaces.Box(0.0, 512.0, (2,))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_commands_that_simulate_nothing_run(without):
    size = f"--data {STORE} --steps 2 --batch-size 8 --no-bf16"
    lines = [
        f"train pusht --channels 8 16 {size} --out run",
        f"distill run/checkpoint {size} --out student",
        f"draft train run/checkpoint --data {STORE} --minutes 0.001",
        f"fidelity run/checkpoint --data {STORE} --observations 2 --plans 6 --threads 1 --engine eager",
        f"bench pusht --checkpoint run/checkpoint --data {STORE} --repeats 2 --engines eager --out page --json rows.json",
        f"data inspect {STORE} --plot actions.png",
        f"data export {STORE} --out theirs",
        "data inspect theirs",
        "data import theirs --out again.zarr",
        "info",
        "info --checkpoint run/checkpoint",
        "tasks",
        "tasks pusht",
    ]
    ended = without("-c", SHORT, typed="\n".join(lines))
    assert ended.returncode == 0 and ended.stdout.count("ended:") == len(lines), ended.stdout + ended.stderr
    made = (
        "student/checkpoint/model.safetensors",
        "run/checkpoint/draft.json",
        "run/checkpoint/fidelity.json",
        "actions.png",
    )
    assert all((without.folder / name).is_file() for name in (*made, "page/cpu.md", "page/cpu.png", "actions.png"))
    assert json.loads((without.folder / "rows.json").read_text())


def test_help_and_the_registry_need_none(without):
    assert without("-c", HELP).returncode == 0
    shown = without("-m", "paradp.scripts", "tasks", "square")
    assert shown.returncode == 0 and "SquareExpert" in shown.stdout


@pytest.mark.parametrize(
    ("command", "package"),
    [
        ("rollout square", "robosuite"),
        ("rollout pusht", "gym-pusht"),
        ("evaluate lift", "robosuite"),
        ("drive lift", "robosuite"),
        ("collect pusht", "gym-pusht"),
        ("collect kitchen", "gymnasium-robotics"),
        ("bench lift", "robosuite"),
    ],
)
def test_the_error_of_a_command_that_simulates_says_what_installs_its_simulator(without, command, package):
    ended = without("-m", "paradp.scripts", *command.split())
    assert ended.returncode == 2 and len(ended.stderr.splitlines()) == 1, ended.stderr
    extra = "kitchen" if command.endswith("kitchen") else "sim"
    said = f'paradp: this needs {package}, which is not installed: in a clone of paradp, pip install ".[{extra}]"'
    assert ended.stderr.startswith(said)
    assert ("give demonstrations with --data" in ended.stderr) == command.startswith("bench")
    assert not list(without.folder.iterdir())


@pytest.mark.parametrize("command", ["train pusht", "distill pusht", "draft train pusht"])
def test_a_missing_device_is_refused_at_once(without, command):
    ended = without("-m", "paradp.scripts", *command.split(), "--data", STORE, "--device", "cuda:99")
    assert ended.returncode == 2 and ended.stderr.startswith("paradp: --device 'cuda:99' is not available; there is: cpu")
    assert not list(without.folder.iterdir())


def test_the_release_of_a_checkpoint_needs_none(without):
    policy = DATA / "policies/unet-epsilon"
    ended = without("-m", "paradp.scripts", "release", policy, "--runs", DATA / "run")
    assert ended.returncode == 2 and "already describes the measurements" in ended.stderr, ended.stderr
