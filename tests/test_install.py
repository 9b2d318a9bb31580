"""The package installed by pip in environments of their own, without the extras. Needs minutes and a package index."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from installing import ROOT, build_wheel, output, run

# Everything that is exported, and a plan of a policy that is given as a directory, by every kind of solver.
PROGRAM = """
import sys
import numpy as np, torch
import paradp.checkpoints, paradp.policy, paradp.sampler
for room in (paradp.sampler, paradp.policy, paradp.checkpoints):
    for name in room.__all__:
        getattr(room, name)
for sampler in ("ddim-5", "speculative-ddpm:window=8", "para-ddpm:tolerance=0"):
    policy = paradp.checkpoints.load_policy(sys.argv[1], sampler, engine="eager")
    before = (1, policy.spec.horizons.observe)
    seen = {key: np.zeros((*before, *one.shape), one.dtype) for key, one in policy.spec.observed.items()}
    print(policy.plan(seen, [torch.Generator().manual_seed(0)]).actions.tolist())
print(np.__version__)
"""
BROUGHT_BY_EXTRAS = ("gymnasium", "robosuite", "mujoco", "zarr", "pandas", "scipy", "matplotlib", "numba", "openvino", "ray")


def torch_version() -> str:
    [pin] = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch==")]
    return pin


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.mark.install
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_core_alone_plans(wheel, tmp_path, version):
    python = shutil.which(f"python{version}")
    if python is None or run(python, "--version").returncode:
        pytest.skip(f"there is no Python {version} here")
    output(python, "-m", "venv", tmp_path / "venv")
    bin = tmp_path / "venv/bin"
    # No constraints but torch's, so that its build for CPUs is taken where the index has one: numpy is what pip takes today.
    output(bin / "pip", "install", "--quiet", "--disable-pip-version-check", torch_version(), wheel)
    there = output(bin / "pip", "list", "--format", "freeze").lower()
    assert not [name for name in BROUGHT_BY_EXTRAS if f"\n{name}==" in there]

    printed = output(bin / "python", "-c", PROGRAM, ROOT / "checkpoints/pretrained/square", cwd=tmp_path).splitlines()
    assert int(printed[-1].partition(".")[0]) >= 2  # robosuite's numpy 1 is for the simulators alone
    here = output(sys.executable, "-c", PROGRAM, ROOT / "checkpoints/pretrained/square").splitlines()
    for one, other in zip(printed[:-1], here[:-1], strict=True):
        # Here the rounds are computed by numba's loops.
        assert np.array(json.loads(one)) == pytest.approx(np.array(json.loads(other)), abs=1e-3)

    assert output(bin / "paradp", "--version", cwd=tmp_path).startswith("paradp ")
    assert "diffusers" in output(bin / "paradp", "info", cwd=tmp_path)
    inspect = f"data inspect {ROOT}/tests/data/behaviour/demonstrations.zarr"
    for command, extra in (("rollout square", "sim"), ("serve square", "serve"), (inspect, "train")):
        done = run(bin / "paradp", *command.split(), cwd=tmp_path)
        assert done.returncode == 2 and f"pip install 'paradp[{extra}]'" in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
