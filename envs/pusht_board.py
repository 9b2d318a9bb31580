"""gym-pusht's own environment, with a reward that a seed repeats to the bit."""

from typing import Any

from gym_pusht.envs.pusht import PushTEnv, pymunk_to_shapely


class Board(PushTEnv):
    """Measures how much of the goal is covered with the T's two boxes always in the same order.

    gym-pusht takes them from a set, whose order depends on where the objects lie in memory: the areas are summed up in one
    order or the other, and the reward differs in its last bit from process to process, and from episode to episode.
    """

    block: Any
    goal_pose: Any

    def _get_coverage(self) -> float:
        goal = pymunk_to_shapely(self.get_goal_pose_body(self.goal_pose), self._block_shapes)
        block = pymunk_to_shapely(self.block, self._block_shapes)
        return goal.intersection(block).area / goal.area
