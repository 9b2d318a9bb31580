"""Action conventions are found by name, and one that contradicts itself is refused."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from paradp.envs import ACTION_CONVENTIONS, BoundedAction, conventions, find_convention, register_convention
from paradp.envs.conventions import check_convention, convention_names, described


@dataclass
class Wheels(BoundedAction):
    """Speeds of two wheels."""

    name: str = "wheels"
    unit: str = "m"
    parts: dict = field(default_factory=lambda: {"left": 1, "right": 1})
    units: dict = field(default_factory=lambda: {"left": "m/s", "right": "m/s"})
    low: np.ndarray = field(default_factory=lambda: -np.ones(2, np.float32))
    high: np.ndarray = field(default_factory=lambda: np.ones(2, np.float32))

    def hold(self, last, observation):
        return np.zeros(2, np.float32)

    def path(self, actions):
        return actions.cumsum(0)


@pytest.fixture(autouse=True)
def nothing_is_left_behind(monkeypatch):
    monkeypatch.setattr(conventions, "_brought", {})


@pytest.mark.parametrize("name", ACTION_CONVENTIONS)
def test_the_conventions_of_paradp_are_complete(name):
    check_convention(ACTION_CONVENTIONS[name])
    assert find_convention(name) is ACTION_CONVENTIONS[name]


def test_a_registered_convention_is_found_by_its_name():
    wheels = Wheels()
    register_convention(wheels)
    assert find_convention("wheels") is wheels and "wheels" in convention_names()
    assert wheels.space.shape == (2,)
    with pytest.raises(ValueError, match="two action conventions have the name 'wheels'"):
        register_convention(Wheels())
    with pytest.raises(ValueError, match="two action conventions have the name 'delta'"):
        register_convention(Wheels("delta"))


def test_the_error_for_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown action convention 'delto' — did you mean 'delta'\? There are: absolute,"):
        find_convention("delto")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"low": np.zeros(3, np.float32)}, "its low must be a float32 array of 2 values"),
        ({"high": np.ones(2)}, "its high must be a float32 array of 2 values"),
        ({"parts": {"left": 1}}, "of 1 values, as many as its parts have"),
        ({"low": np.ones(2, np.float32)}, "every low must be below its high"),
        ({"high": np.array([1, np.inf], np.float32)}, "both finite"),
    ],
)
def test_limits_that_do_not_fit_are_named(change, message):
    with pytest.raises(ValueError, match=f"the action convention 'wheels': .*{message}"):
        register_convention(Wheels(**change))


def test_a_missing_member_is_named():
    with pytest.raises(ValueError, match="is a dict and lacks name, unit, parts, units, low, high, hold, path"):
        check_convention({})
    with pytest.raises(ValueError, match="is a class"):
        check_convention(Wheels)


def test_a_convention_is_described_in_words():
    assert described("wheels", {"left": 1, "right": 1}) == "wheels (left 1, right 1: 2 values)"
