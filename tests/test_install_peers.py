"""The wheels beside what other people install. Needs gigabytes from a package index: `make test-install-peers`."""

import json
import shutil

import pytest
from installing import EVERY_SOLVER, PROGRAM, ROOT, WEIGHTS, build_wheel, install, new_environment, output, torch_version

# LeRobot's own diffusion policy in the process that plans with ours.
BESIDE_LEROBOT = "from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy\n" + PROGRAM


@pytest.mark.peers
def test_the_core_samples_beside_lerobot(tmp_path):
    bin = new_environment("3.12", tmp_path)
    # In one go, so that pip finds versions that suit both: LeRobot's torch and numpy, none of our constraints.
    install(bin, "lerobot[diffusion]", build_wheel(ROOT, tmp_path), build_wheel(WEIGHTS, tmp_path))
    output(bin / "pip", "check")
    printed = output(bin / "python", "-c", BESIDE_LEROBOT, "square", *EVERY_SOLVER, cwd=tmp_path).splitlines()
    assert printed[-1].startswith("2.")  # numpy
    plans = [json.loads(line) for line in printed[-1 - len(EVERY_SOLVER) : -1]]
    alone = output(bin / "python", "-c", PROGRAM, "square", *EVERY_SOLVER, cwd=tmp_path).splitlines()
    assert plans == [json.loads(line) for line in alone[:-1]]


@pytest.mark.peers
def test_lerobots_own_policies_are_sampled_in_place(tmp_path):
    bin = new_environment("3.12", tmp_path)
    install(bin, "lerobot[diffusion]", build_wheel(ROOT, tmp_path))
    printed = output(bin / "python", ROOT / "tests/lerobot_in_place.py", cwd=tmp_path)
    assert printed.splitlines()[-1] == "as LeRobot's own"


@pytest.mark.peers
@pytest.mark.parametrize("version", ["3.11", "3.12"])
def test_every_extra_together_runs_the_rollout_of_the_makefile(tmp_path, version):
    bin = new_environment(version, tmp_path)
    install(bin, torch_version(), f"{build_wheel(ROOT, tmp_path)}[all]", build_wheel(WEIGHTS, tmp_path))
    output(bin / "pip", "check")
    # Its recipe alone, outside the checkout: the environment counts as installed.
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    (tmp_path / "installed").touch()
    output("make", "rollout", f"BIN={bin}", "INSTALLED=installed", cwd=tmp_path)
    assert "success (95 %)" in (tmp_path / "runs/demo/comparison.md").read_text()
    for sampler in ("ddpm", "auto"):
        assert json.loads((tmp_path / "runs/demo" / sampler / "summary.json").read_text())["episodes"] == 10
