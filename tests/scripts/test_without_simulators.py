"""A computer that only learns, such as a GPU node, has no simulators."""

import subprocess
import sys
from pathlib import Path

import pytest

STORE = Path(__file__).parents[1] / "data/behaviour/demonstrations.zarr"
ALONE = """
import sys
sys.modules |= dict.fromkeys(["gymnasium", "robosuite", "mujoco", "gym_pusht", "pymunk"])  # importing one fails
from paradp.scripts.main import main
for line in sys.stdin:
    sys.argv = ["paradp", *line.split()]
    main()
import paradp.scripts.draft, paradp.scripts.fidelity
"""


def paradp(folder, *lines):
    typed = "\n".join(lines)
    return subprocess.run(
        [sys.executable, "-c", ALONE], input=typed, cwd=folder, capture_output=True, text=True, timeout=300
    )


def test_policies_are_trained_and_distilled_without_simulators(tmp_path):
    size = f"--data {STORE} --steps 2 --batch-size 8 --no-bf16"
    ended = paradp(
        tmp_path,
        f"train pusht --channels 8 16 {size} --out run",
        f"distill run/checkpoint {size} --out student",
    )
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "student/checkpoint/model.safetensors").exists()


@pytest.mark.parametrize("command", ["train pusht", "distill pusht", "draft train pusht"])
def test_a_device_that_is_not_there_is_refused_at_once(tmp_path, command):
    ended = paradp(tmp_path, f"{command} --data {STORE} --device cuda:99")
    assert ended.returncode == 2 and ended.stderr.startswith("paradp: --device 'cuda:99' is not available; there is: cpu")
    assert not list(tmp_path.iterdir())
