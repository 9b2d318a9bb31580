"""The tasks there are. A new one is an entry here and an expert."""

from dataclasses import dataclass

from paradp.envs.experts.can import CanExpert
from paradp.envs.experts.lift import LiftExpert
from paradp.envs.experts.pusher import PushTExpert
from paradp.envs.experts.square import SquareExpert
from paradp.envs.experts.stack import StackExpert
from paradp.envs.experts.waypoints import ScriptedExpert
from paradp.envs.lookup import find
from paradp.envs.pusht_env import PushTTask
from paradp.envs.robosuite_env import RobosuiteTask
from paradp.envs.task import Task

ExpertClass = type[ScriptedExpert] | type[PushTExpert]


@dataclass(frozen=True)
class TaskEntry:
    """A task and who demonstrates it, if anyone does."""

    task: Task
    expert: ExpertClass | None = None

    @property
    def demonstrator(self) -> ExpertClass:
        """The expert.

        Raises:
            ValueError: there is none.
        """
        if self.expert is None:
            raise ValueError(
                f"the task {self.task.name!r} has no expert; see `paradp data import` for recorded demonstrations"
            )
        return self.expert


_ENTRIES = (
    TaskEntry(
        RobosuiteTask(
            name="square",
            robosuite_name="NutAssemblySquare",
            objects={"nut": "SquareNut_main"},
            success_rule="the square nut is on its peg: within 3 cm sideways of it and below z = 0.87 m",
            # About where nuts are placed: x −0.115 to −0.11, y 0.11 to 0.225.
            area=((-0.16, 0.10), (-0.065, 0.235)),
        ),
        SquareExpert,
    ),
    TaskEntry(
        RobosuiteTask(
            name="lift",
            robosuite_name="Lift",
            objects={"cube": "cube_main"},
            success_rule="the cube is more than 4 cm above the table",
            # Cubes are placed within 3 cm of the table's centre.
            area=((-0.08, -0.08), (0.08, 0.08)),
        ),
        LiftExpert,
    ),
    TaskEntry(
        RobosuiteTask(
            name="can",
            robosuite_name="PickPlaceCan",
            objects={"can": "Can_main"},
            success_rule="the can is in its bin, and the hand more than 4.2 cm from the can's centre",
        ),
        CanExpert,
    ),
    TaskEntry(
        RobosuiteTask(
            name="stack",
            robosuite_name="Stack",
            objects={"cube_a": "cubeA_main", "cube_b": "cubeB_main"},
            success_rule="the small cube lies on the large one, and the hand does not hold it",
        ),
        StackExpert,
    ),
    TaskEntry(
        RobosuiteTask(
            name="door",
            robosuite_name="Door",
            objects={"door": "Door_door", "latch": "Door_latch"},
            success_rule="the door stands open by more than 0.3 rad",
            replayable=False,  # where the door is hung is not in the state
        )
    ),
    TaskEntry(PushTTask(name="pusht", keypoints=True), PushTExpert),
    TaskEntry(PushTTask(name="pusht-state", keypoints=False), PushTExpert),
)
TASKS: dict[str, TaskEntry] = {entry.task.name: entry for entry in _ENTRIES}


def find_task(name: str) -> TaskEntry:
    """The task of that name.

    Raises:
        ValueError: there is none; the message names those there are and the nearest.
    """
    return find(TASKS, name, "task")
