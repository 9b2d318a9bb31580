"""A robot's quantities are mapped to a policy's by LeRobot's names and order, or refused with a sentence."""

import numpy as np
import pytest

from paradp.policy.spec import Interface
from paradp.rollouts.realtime.wiring import NOTHING, Renamed, Wiring

OBSERVED = {"pan.pos": float, "lift.pos": float, "wheel.vel": float, "front": (4, 6, 3), "wrist": (4, 6, 3)}
COMMANDED = {"pan.pos": float, "lift.pos": float, "wheel.vel": float}
SEEN = {"pan.pos": 1.0, "lift.pos": 2.0, "wheel.vel": 3.0, "front": np.full((4, 6, 3), 4, np.uint8), "wrist": None}
LEROBOT = {"observation.state": 3, "observation.images.front": (4, 6, 3)}


def interface(observation, action) -> Interface:
    size = sum(action.values())
    return Interface("reach", observation, action, (-9.0,) * size, (9.0,) * size, "as recorded", 30)


def test_observations_and_commands_of_a_lerobot_policy_are_in_the_robots_order():
    wiring = Wiring.of(interface(LEROBOT, {"action": 3}), OBSERVED, COMMANDED)
    seen = wiring.observation(SEEN)
    assert seen.keys() == LEROBOT.keys() and seen["observation.state"].tolist() == [1, 2, 3]
    assert seen["observation.images.front"].shape == (4, 6, 3) and seen["observation.images.front"].dtype == np.uint8
    assert seen["observation.images.front"] is not SEEN["front"]
    assert wiring.commands(np.array([5, 6, 7], np.float32)) == {"pan.pos": 5, "lift.pos": 6, "wheel.vel": 7}


@pytest.mark.parametrize(
    ("observation", "renamed", "seen"),
    [
        ({"arm": 2, "wheel": 1}, {"observation.state": {"arm": 2, "wheel": 1}}, {"arm": [1, 2], "wheel": [3]}),
        ({"wheel": 1, "arm": 2}, {"observation.state": {"arm": 2, "wheel": 1}}, {"arm": [1, 2], "wheel": [3]}),
        ({"joints": 3}, {"observation.state": "joints"}, {"joints": [1, 2, 3]}),
        ({"wheel.vel": 1, "pan.pos": 1}, {}, {"wheel.vel": [3], "pan.pos": [1]}),
        (
            {"lift.pos": 1, "pan.pos": 1},
            {"observation.state": {"lift.pos": 1, "pan.pos": 1}},
            {"lift.pos": [2], "pan.pos": [1]},
        ),
        ({"eye": (4, 6, 3), "wheel.vel": 1}, {"observation.images.front": "eye"}, {"wheel.vel": [3]}),
    ],
)
def test_renamed_quantities_are_found(observation, renamed, seen):
    wiring = Wiring.of(interface(observation, {"action": 3}), OBSERVED, COMMANDED, Renamed(renamed))
    found = wiring.observation(SEEN)
    assert found.keys() == observation.keys()
    assert {key: found[key].tolist() for key in found if key != "eye"} == seen
    assert "eye" not in found or (found["eye"] == 4).all()


def test_actions_have_the_names_of_commands_or_renamed_parts():
    by_name = Wiring.of(interface(LEROBOT, {"wheel.vel": 1, "pan.pos": 1, "lift.pos": 1}), OBSERVED, COMMANDED)
    assert by_name.commands(np.arange(3.0)) == {"wheel.vel": 0, "pan.pos": 1, "lift.pos": 2}
    parts = {"arm": 2, "wheel": 1}
    renamed = Wiring.of(interface(LEROBOT, parts), OBSERVED, COMMANDED, Renamed({}, parts))
    assert renamed.commands(np.arange(3.0)) == {"pan.pos": 0, "lift.pos": 1, "wheel.vel": 2}


def test_holding_keeps_positions_and_sets_velocities_to_zero():
    wiring = Wiring.of(interface(LEROBOT, {"action": 3}), OBSERVED, COMMANDED)
    assert wiring.hold(None, SEEN).tolist() == [1, 2, 0]
    assert wiring.hold(np.array([5, 6, 7], np.float32), SEEN).tolist() == [5, 6, 0]


@pytest.mark.parametrize(
    ("observation", "action", "renamed", "said"),
    [
        (
            {"observation.state": 2},
            {"action": 3},
            NOTHING,
            "observation.state has 2 values, the robot's 3: pan.pos, lift.pos,",
        ),
        ({"observation.environment_state": 4}, {"action": 3}, NOTHING, "does not observe 'observation.environment_state'"),
        ({"elbow.pos": 1}, {"action": 3}, NOTHING, "does not observe 'elbow.pos', which the policy sees"),
        ({"observation.images.top": (4, 6, 3)}, {"action": 3}, NOTHING, "no camera 'top', .* it has: front, wrist"),
        (
            {"observation.images.front": (8, 6, 3)},
            {"action": 3},
            NOTHING,
            r"'front' has images of \(4, 6, 3\), the policy was trained with \(8, 6, 3\)",
        ),
        (LEROBOT, {"action": 2}, NOTHING, "actions have 2 values, the robot takes 3: pan.pos, lift.pos, wheel.vel"),
        (LEROBOT, {"action": 4}, NOTHING, "actions have 4 values, the robot takes 3"),
        (LEROBOT, {"pan.pos": 1, "lift.pos": 1}, NOTHING, "takes a command 'wheel.vel', which the policy does not give"),
        (LEROBOT, {"arm": 3}, NOTHING, "the policy's actions have 'arm', and the robot takes: pan.pos"),
        (LEROBOT, {"pan.pos": 1, "elbow.pos": 2}, NOTHING, "the policy's actions have 'elbow.pos'"),
    ],
)
def test_a_mismatch_is_refused_by_name(observation, action, renamed, said):
    with pytest.raises(ValueError, match=said):
        Wiring.of(interface(observation, action), OBSERVED, COMMANDED, renamed)


def test_a_robot_that_cannot_be_held_still_is_refused():
    with pytest.raises(
        ValueError, match=r"how to hold the robot still is not known: it does not observe its command 'pan.goal'"
    ):
        Wiring.of(interface({"pan.pos": 1}, {"action": 1}), OBSERVED, {"pan.goal": float})


def test_an_observation_that_lacks_something_is_refused():
    wiring = Wiring.of(interface({"wheel.vel": 1}, {"action": 3}), OBSERVED, COMMANDED)
    with pytest.raises(ValueError, match=r"lacks 'wheel.vel'; it has: pan.pos"):
        wiring.observation({"pan.pos": 1.0, "lift.pos": 1.0})
    with pytest.raises(ValueError, match=r"lacks 'pan.pos'"):  # the policy does not see it, but it must be held
        wiring.observation({"wheel.vel": 1.0, "lift.pos": 1.0})


def test_a_motor_without_a_position_cannot_be_held():
    """Also one that the policy does not see; a velocity is 0 whatever is read."""
    wiring = Wiring.of(interface({"pan.pos": 1}, {"action": 3}), OBSERVED, COMMANDED)
    wiring.check_hold(SEEN | {"wheel.vel": np.nan})
    with pytest.raises(ValueError, match=r"its 'lift\.pos' is nan, so that it could not be held still"):
        wiring.check_hold(SEEN | {"lift.pos": np.nan})
