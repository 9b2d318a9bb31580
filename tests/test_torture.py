"""The program that attacks the package detects faults: for example a controller that lets everything pass."""

import random

import numpy as np
import pytest
from torture import control
from torture.amounts import Amounts
from torture.tally import FAULTS, Tally
from torture.world import World


@pytest.fixture
def attack(tmp_path):
    """Runs this many control steps under faults."""

    def run() -> Tally:
        tally = Tally()
        amounts = Amounts({}, 0, 0, 0, 0, 0, 1500, 0, 0, 0)
        control.attack(World.at(tmp_path), amounts, random.Random(0), tally, lambda: None)
        return tally

    return run


def test_a_controller_that_lets_everything_pass_is_found_out(attack, monkeypatch):
    monkeypatch.setattr(
        control.SafeController, "_permitted", lambda safe, command, seen: np.asarray(command.action, np.float32)
    )
    assert attack().faults["unsafe"] > 0


def test_a_fault_is_counted_and_explained():
    tally = Tally()
    for kind in FAULTS:
        tally.fault(kind, f"{kind} 1\nin two lines")
        tally.fault(kind, f"{kind} 2\nin two lines")
    assert set(tally.as_json()["faults"].values()) == {2} and len(tally.examples) == len(FAULTS)
