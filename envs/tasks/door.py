"""Door: pull the door open. It has no scripted expert."""

from paradp.envs.robosuite_task import RobosuiteTask
from paradp.envs.success import door_is_open
from paradp.envs.task import TaskEntry

DOOR = TaskEntry(
    RobosuiteTask(
        name="door",
        robosuite_name="Door",
        objects={"door": "Door_door", "latch": "Door_latch"},
        success=door_is_open,
        success_rule="the door stands open by more than 0.3 rad",
        replayable=False,  # the state does not contain the door's position
    )
)
