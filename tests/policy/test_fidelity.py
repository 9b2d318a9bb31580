"""Fidelity files are read as they were written, and others are refused with a sentence."""

import json
import math
from dataclasses import replace

import pytest

from paradp.policy.fidelity import Bounds, Fidelity, Interval, StepsFidelity, fewest_steps
from paradp.policy.files.limits import DOCUMENT_BYTES
from paradp.policy.spec import DEFAULT_SCHEDULE

DIGEST = "a" * 64
ONE = StepsFidelity(Interval(0.002, -0.001, 0.005), 0.2, Interval(0.97, 0.96, 0.98), Interval(1.0, 0.95, 1.05))
MEASURED = Fidelity(
    DIGEST, "paradp fidelity x", "demonstrations", 8, 8, 0, 0.97, "eager fp32", {"torch": "2"},
    {"ddpm-25": ONE, "ddpm-3:timesteps=99-40-0": ONE, "ddim-10:spacing=trailing": ONE},
)  # fmt: skip


@pytest.fixture
def path(tmp_path):
    MEASURED.write(tmp_path / "fidelity.json")
    return tmp_path / "fidelity.json"


def test_a_fidelity_file_is_read_back(path):
    assert Fidelity.read(path, DIGEST, DEFAULT_SCHEDULE) == MEASURED


def damaged(**changes):
    content = json.loads(json.dumps({**MEASURED.__dict__, "steps": {}, **changes}, default=lambda one: one.__dict__))
    return json.dumps(content)


STEPS = {"energy": ONE.energy, "p_value": 0.5, "coverage": ONE.coverage, "spread": ONE.spread}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        (" " * (DOCUMENT_BYTES + 1), "bytes; at most"),
        (damaged(format=2), "has the format 2, and this paradp reads up to 1: update paradp"),
        (damaged(more=1), "more"),
        (damaged(plans=1), "plans"),
        (damaged(plans=10**30), "too large"),
        (damaged(expected_coverage=2), "expected_coverage"),
        (damaged(checkpoint_sha256="b" * 64), "was measured of another checkpoint"),
        (damaged(steps={"ddpm-25": {"energy": 1}}), "energy"),
        (damaged(steps={"ddpm-25": STEPS | {"p_value": math.nan}}), "NaN"),
        (damaged(steps={"ddpm-25": STEPS}).replace("0.002", "1e999"), "too large"),
        (damaged(steps={"ddpm-101": STEPS}), "101 steps are too many"),
        (damaged(steps={"ddpm-2:timesteps=50-50": STEPS}), "timesteps must decrease"),
        (damaged(steps={"nonsense": STEPS}), "unknown sampler 'nonsense'"),
        (damaged(steps={"auto-fast": STEPS}), "not a sequential sampler"),
        (damaged(steps={"speculative-ddpm-25:window=8": STEPS}), "not a sequential sampler"),
        (damaged(steps={f"ddpm-{i}": STEPS for i in range(1, 202)}), "steps"),
        (damaged(steps={f"ddpm-3:timesteps={'9' * 5000}": STEPS}), "steps"),
    ],
)
def test_an_invalid_fidelity_file_is_refused_in_a_sentence(path, content, said):
    path.write_text(content)
    with pytest.raises(ValueError, match=said) as refused:
        Fidelity.read(path, DIGEST, DEFAULT_SCHEDULE)
    assert str(path) in str(refused.value)


def test_a_pipe_and_a_missing_file_are_refused_without_waiting(path):
    path.unlink()
    with pytest.raises(FileNotFoundError):
        Fidelity.read(path, DIGEST, DEFAULT_SCHEDULE)
    path.mkdir()
    with pytest.raises(ValueError, match="not a regular file"):
        Fidelity.read(path, DIGEST, DEFAULT_SCHEDULE)


def test_the_excess_is_the_largest_of_all_figures():
    bounds = Bounds(energy=0.01, coverage=0.02, spread=0.1)
    assert bounds.excess(ONE, 0.97) == pytest.approx(0.2)
    assert bounds.excess(replace(ONE, coverage=Interval(0.94, 0, 1)), 0.97) == pytest.approx(1.5)
    assert bounds.excess(replace(ONE, spread=Interval(0.8, 0, 1)), 0.97) == pytest.approx(2.0)
    assert Bounds(energy=0).excess(ONE, 0.97) == math.inf
    assert Bounds(0, 0, 0).allow(replace(ONE, energy=Interval(-0.001, -1, 1)), 0.97)


def test_of_equally_few_steps_the_closest_are_chosen():
    steps = {"ddpm-3:timesteps=99-40-0": ONE, "ddpm-3": replace(ONE, energy=Interval(0.001, 0, 1))}
    assert fewest_steps(replace(MEASURED, steps=steps), Bounds()) == ["ddpm-3"]
