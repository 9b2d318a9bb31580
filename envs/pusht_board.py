"""gym-pusht's environment with the same physics and reward, but only the computations that a control step needs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from gym_pusht.envs.pusht import PushTEnv

# Any type except 0, pymunk's default, for which gym-pusht counts collisions.
_NOT_COUNTED = 1


class Board(PushTEnv):
    """Advances the board and measures coverage like gym-pusht's `step`, in separate calls.

    The physics equals gym-pusht's bit by bit. Coverage agrees to 1e-12, unless edges of T and goal are closer than 1e-7 px,
    where gym-pusht's own is less exact. It is the same in every process: gym-pusht takes the T's two boxes from a set,
    whose order, and with it the last bit of the reward, depends on where the objects lie in memory.

    Contacts are not counted (`info["n_contacts"]` of gym-pusht's `step` is 0).
    """

    block: Any
    goal_corners: np.ndarray  # corners of the goal's boxes, [2, 4, 2] (px)
    _corners: np.ndarray

    def advance(self, target: Sequence[float]) -> None:
        """Moves the disc towards a goal position (px) for one control step."""
        self._last_action = target  # shown in frames
        (target_x, target_y), agent, dt = target, self.agent, self.dt
        vx, vy = agent.velocity  # which no contact changes
        for _ in range(int(1 / (dt * self.control_hz))):
            x, y = agent.position
            vx += (self.k_p * (target_x - x) - self.k_v * vx) * dt
            vy += (self.k_p * (target_y - y) - self.k_v * vy) * dt
            agent.velocity = vx, vy
            self.space.step(dt)

    @property
    def corners(self) -> np.ndarray:
        """The corners of the T's boxes, four each, `[8, 2]` (px), in gym-pusht's order."""
        (x, y), (cos, sin), (right, down) = self._corners, self.block.rotation_vector, self.block.position
        return np.array([x * cos - y * sin + right, x * sin + y * cos + down]).T

    @property
    def coverage(self) -> float:
        """The share of the goal that the T covers."""
        # Summed over pairs of boxes, because the boxes of one T do not overlap.
        boxes = shapely.polygons(self.corners.reshape(2, 4, 2))
        return float(shapely.area(shapely.intersection(self._goal[:, None], boxes)).sum() / self._goal_area)

    @property
    def goal_pose(self) -> np.ndarray:
        """Pose of the T at its goal: x, y (px) and angle (rad). A read-only array, which may be replaced by another."""
        return self._goal_pose

    @goal_pose.setter
    def goal_pose(self, pose: np.ndarray) -> None:
        self._goal_pose = np.array(pose, float)
        self._goal_pose.setflags(write=False)
        goal = self.get_goal_pose_body(self._goal_pose)
        boxes = [[goal.local_to_world(corner) for corner in shape.get_vertices()] for shape in self._block_shapes]
        self.goal_corners = np.array(boxes)
        self._goal = shapely.polygons(boxes)
        self._goal_area = shapely.area(self._goal).sum()

    def _setup(self) -> None:
        super()._setup()
        self._corners = np.concatenate([shape.get_vertices() for shape in self._block_shapes]).T.copy()
        for shape in self._block_shapes:
            shape.collision_type = _NOT_COUNTED  # counting calls back into Python at every contact

    def _get_coverage(self) -> float:
        return self.coverage
