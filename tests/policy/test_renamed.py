"""Older names of exports and arguments are accepted, with a note that contains the present name."""

from contextlib import suppress

import pytest

import paradp.envs
import paradp.policy
from paradp.policy import AsyncController, RecedingHorizon
from paradp.policy.serving import RemoteController
from paradp.sampler.lookup import note_renamed


def test_older_names_of_exports_are_accepted_with_a_note(caplog):
    note_renamed.cache_clear()
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
