"""The wheels, installed by pip in new environments, without extras. Needs minutes and a package index."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from installing import (
    EVERY_SOLVER,
    PROGRAM,
    ROOT,
    WEIGHTS,
    build_wheel,
    install,
    new_environment,
    output,
    run,
    torch_version,
)

BROUGHT_BY_EXTRAS = ("gymnasium", "robosuite", "mujoco", "zarr", "pandas", "scipy", "matplotlib", "numba", "openvino", "ray")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> tuple[Path, Path]:
    """The wheels of paradp and of its pretrained policies."""
    folder = tmp_path_factory.mktemp("wheels")
    return build_wheel(ROOT, folder), build_wheel(WEIGHTS, folder)


@pytest.mark.install
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_core_alone_plans(wheels, tmp_path, version):
    bin = new_environment(version, tmp_path)
    core, weights = wheels
    # No constraints but torch's, so that its build for CPUs is taken where the index has one: numpy is what pip takes today.
    install(bin, torch_version(), core)
    there = output(bin / "pip", "list", "--format", "freeze").lower()
    assert not [name for name in BROUGHT_BY_EXTRAS if f"\n{name}==" in there]

    printed = output(bin / "python", "-c", PROGRAM, WEIGHTS / "square", *EVERY_SOLVER, cwd=tmp_path).splitlines()
    assert int(printed[-1].partition(".")[0]) >= 2  # robosuite's numpy 1 is for the simulators alone
    here = output(sys.executable, "-c", PROGRAM, WEIGHTS / "square", *EVERY_SOLVER).splitlines()
    for one, other in zip(printed[:-1], here[:-1], strict=True):
        # Here the rounds are computed by numba's loops.
        assert np.array(json.loads(one)) == pytest.approx(np.array(json.loads(other)), abs=1e-3)

    assert output(bin / "paradp", "--version", cwd=tmp_path).startswith("paradp ")
    assert "diffusers" in output(bin / "paradp", "info", cwd=tmp_path)
    for command in ("rollout square", "serve square", "info --checkpoint square"):
        refused(run(bin / "paradp", *command.split(), cwd=tmp_path), "pip install ./checkpoints/pretrained")

    install(bin, "--no-deps", "--no-index", weights)
    [by_name, _] = output(bin / "python", "-c", PROGRAM, "square", EVERY_SOLVER[0], cwd=tmp_path).splitlines()
    assert np.array(json.loads(by_name)) == pytest.approx(np.array(json.loads(printed[0])), abs=1e-5)
    inspect = f"data inspect {ROOT}/tests/data/behaviour/demonstrations.zarr"
    for command, extra in (("rollout square", "sim"), ("serve square", "serve"), (inspect, "train")):
        refused(run(bin / "paradp", *command.split(), cwd=tmp_path), f'pip install ".[{extra}]"')


def refused(done, what_to_do: str) -> None:
    assert done.returncode == 2 and what_to_do in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
