"""Older names of exports and arguments are accepted, with a note that contains the present name."""

from contextlib import suppress

import pytest

import paradp.envs
import paradp.policy
from paradp.envs import TASKS, ActionNoise
from paradp.envs import lookup as envs_lookup
from paradp.policy import AsyncController, RecedingHorizon
from paradp.policy.serving import RemoteController
from paradp.rollouts.collect import collect
from paradp.rollouts.episodes import environments
from paradp.rollouts.realtime.robot import SimulatedRobot
from paradp.sampler.lookup import note_renamed


def test_older_names_of_exports_are_accepted_with_a_note(caplog):
    note_renamed.cache_clear()
    envs_lookup.note_renamed.cache_clear()
    assert paradp.policy.Planner is paradp.policy.Autotuner and paradp.envs.Disturbance is paradp.envs.ActionNoise
    assert caplog.messages == ["paradp.policy.Planner is now Autotuner", "paradp.envs.Disturbance is now ActionNoise"]


@pytest.mark.parametrize("controller", [RecedingHorizon, AsyncController, RemoteController])
def test_controllers_accept_the_older_name_of_blending(controller, caplog):
    note_renamed.cache_clear()
    with pytest.raises(TypeError, match="given both blending and its older name joining"):
        controller(None, joining="blend", blending="blend")
    with suppress(Exception):  # it needs a policy; the argument is read before
        controller(None, joining="blend")
    assert caplog.messages == [f"the argument joining of {controller.__name__} is now blending"]


@pytest.mark.parametrize("expert", [TASKS["square"].expert, TASKS["pusht"].expert])
def test_experts_accept_the_older_name_of_action_noise(expert, caplog):
    envs_lookup.note_renamed.cache_clear()
    with pytest.raises(TypeError, match="given both action_noise and its older name disturbance"):
        expert(disturbance=ActionNoise(), action_noise=ActionNoise())
    assert expert(disturbance=ActionNoise(noise=2.0)).draw_action_noise().any()
    assert len(caplog.messages) == 1 and caplog.messages[0].endswith(" is now action_noise")


def test_older_names_of_environments_in_rollouts_are_accepted_with_a_note(caplog):
    note_renamed.cache_clear()
    assert environments.Scenery is environments.EnvironmentConfig
    with pytest.raises(TypeError, match="given both environment and its older name scenery"):
        SimulatedRobot(scenery=None, environment=None, seed=0)
    with pytest.raises(ValueError, match="episodes must be at least 1"):
        collect("lift", 0, None, disturbance=ActionNoise())
    assert caplog.messages == [
        "paradp.rollouts.episodes.environments.Scenery is now EnvironmentConfig",
        "the argument disturbance of collect is now action_noise",
    ]
