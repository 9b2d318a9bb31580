"""The wheels beside LeRobot, and the plugin in its commands. Needs gigabytes from a package index: `make test-lerobot`."""

import json
import os
import sys

import pytest
from installing import EVERY_SOLVER, PROGRAM, ROOT, WEIGHTS, build_wheel, install, new_environment, output
from lerobot_fixtures import put_together

PLUGIN = ROOT / "checkpoints/bridges/lerobot_policy_paradp"
ROBOT = ROOT / "tests/lerobot_robot_dials"
FACTS = "task: reach\ncontrol_hz: 10\naction_low: [-1000, -1000, -1000]\naction_high: [1000, 1000, 1000]\n"
# LeRobot's own diffusion policy in the process that plans with ours.
BESIDE_LEROBOT = "from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy\n" + PROGRAM


@pytest.fixture(scope="module")
def bin(tmp_path_factory):
    """The programs of an environment with LeRobot, gym-pusht, paradp, its policies, the plugin and a test robot."""
    folder = tmp_path_factory.mktemp("lerobot")
    programs = new_environment("3.12", folder)
    wheels = [build_wheel(source, folder) for source in (ROOT, WEIGHTS, PLUGIN, ROBOT)]
    # In one go, so that pip finds versions that suit all: LeRobot's torch and numpy, none of our constraints.
    install(programs, "lerobot[diffusion,pusht]", *wheels)
    output(programs / "pip", "check")
    return programs


@pytest.mark.peers
def test_the_core_samples_beside_lerobot(bin, tmp_path):
    printed = output(bin / "python", "-c", BESIDE_LEROBOT, "square", *EVERY_SOLVER, cwd=tmp_path).splitlines()
    assert printed[-1].startswith("2.")  # numpy
    plans = [json.loads(line) for line in printed[-1 - len(EVERY_SOLVER) : -1]]
    alone = output(bin / "python", "-c", PROGRAM, "square", *EVERY_SOLVER, cwd=tmp_path).splitlines()
    assert plans == [json.loads(line) for line in alone[:-1]]


@pytest.mark.peers
def test_lerobots_own_policies_are_sampled_in_place(bin, tmp_path):
    printed = output(bin / "python", ROOT / "tests/lerobot_in_place.py", cwd=tmp_path)
    assert printed.splitlines()[-1] == "as LeRobot's own"


@pytest.mark.peers
def test_the_plugin_samples_lerobots_policies_in_its_own_commands(bin, tmp_path):
    # The environment of these tests has the simulators.
    python = tmp_path / "python-with-simulators"
    python.write_text(f"#!/bin/sh\nPYTHONPATH='{os.environ.get('PYTHONPATH', '')}' exec {sys.executable} \"$@\"\n")
    python.chmod(0o755)
    printed = output(bin / "python", ROOT / "tests/lerobot_plugin.py", tmp_path, python, cwd=tmp_path)
    assert printed.splitlines()[-1] == "the plugin works"


@pytest.mark.peers
def test_lerobot_samples_converted_policies(bin, tmp_path):
    printed = output(bin / "python", ROOT / "tests/lerobot_convert.py", tmp_path, cwd=tmp_path)
    assert printed.splitlines()[-1] == "as paradp's own"


@pytest.mark.peers
def test_a_robot_of_lerobots_is_driven(bin, tmp_path):
    (put_together("shared_encoder", tmp_path / "policy") / "paradp.yaml").write_text(FACTS)
    printed = output(bin / "python", ROOT / "tests/lerobot_robot.py", tmp_path, cwd=tmp_path)
    assert printed.splitlines()[-1] == "the robot was driven"
