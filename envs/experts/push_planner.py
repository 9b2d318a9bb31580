"""Plans PushT's next push by trying all possible ones in a simulation, and plans the path to its start.

The board's damping is total, so that nothing slides on: the result of a push depends only on poses.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import shapely
from scipy.sparse.csgraph import shortest_path

from paradp.envs.pusht_env import make_board

RADIUS = 15.0  # radius of the disc, px
GAP = 6.0  # distance between disc and T at the start of a push
SPACING = 16.0  # distance between tried starts of pushes
SLANTS = np.deg2rad([-30.0, 0.0, 30.0])
LONGEST = 14  # largest number of control steps of a push
LOW, HIGH = 5.0 + 2.0 + RADIUS, 506.0 - 2.0 - RADIUS  # the walls


@dataclass(frozen=True)
class BlockPose:
    """The pose of the T: its origin `[2]` (px), and its angle (rad)."""

    position: np.ndarray
    angle: float

    def to_world(self, points: np.ndarray) -> np.ndarray:
        """Converts points `[n, 2]` from the T's frame to the board's."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return points @ np.array([[cos, sin], [-sin, cos]]) + self.position


@dataclass(frozen=True)
class StraightPush:
    """A straight push.

    Attributes:
        start: start position of the disc (px).
        direction: a unit vector.
        speed: px per control step.
        steps: number of control steps.
        error: distance of the T from its goal after the push (px).
    """

    start: np.ndarray
    direction: np.ndarray
    speed: float
    steps: int
    error: float

    def goal(self, step: int) -> np.ndarray:
        """Goal position of the disc in a control step, counted from 1 (px)."""
        return self.start + self.speed * step * self.direction


class PushPlanner:
    """Tries pushes on a separate board."""

    def __init__(self) -> None:
        self._board = make_board()
        self._board.reset(seed=0)
        self.corners = np.concatenate([np.array(shape.get_vertices()) for shape in self._board._block_shapes])
        self.goal = BlockPose(self._board.goal_pose[:2], float(self._board.goal_pose[2]))
        self._goal_corners = self.goal.to_world(self.corners)
        boxes = [shapely.Polygon(shape.get_vertices()) for shape in self._board._block_shapes]
        self._outline = np.array(shapely.unary_union(boxes).normalize().exterior.coords)
        self._places, self._normals = _along(self._outline)

    def pose(self, corners: np.ndarray) -> BlockPose:
        """Computes the pose from corners `[8, 2]` (Kabsch's algorithm in the plane)."""
        centre, own_centre = corners.mean(0), self.corners.mean(0)
        own, seen = self.corners - own_centre, corners - centre
        angle = float(np.arctan2((own[:, 0] * seen[:, 1] - own[:, 1] * seen[:, 0]).sum(), (own * seen).sum()))
        return BlockPose(centre - BlockPose(np.zeros(2), angle).to_world(own_centre[None])[0], angle)

    def seen(self, observation: Mapping[str, np.ndarray]) -> BlockPose:
        """Reads the pose from an observation, of corners or of position and angle."""
        if "block_keypoints" in observation:
            return self.pose(observation["block_keypoints"].astype(np.float64).reshape(-1, 2))
        cos, sin = observation["block_angle"].astype(np.float64)
        return BlockPose(observation["block_pos"].astype(np.float64), float(np.arctan2(sin, cos)))

    def error(self, pose: BlockPose) -> float:
        """Mean distance of the T's corners from their goals (px)."""
        return float(np.linalg.norm(pose.to_world(self.corners) - self._goal_corners, axis=1).mean())

    def outline(self, pose: BlockPose) -> shapely.Polygon:
        """Returns the outline of the T at a pose, as a closed polygon (px)."""
        return shapely.Polygon(pose.to_world(self._outline))

    def pushes(self, pose: BlockPose, speed: float) -> list[StraightPush]:
        """Returns all possible pushes, each with its best number of control steps.

        Args:
            pose: pose of the T.
            speed: px per control step.
        """
        # Otherwise the contact solver would reuse contacts of earlier tries.
        self._board.reset(seed=0)
        turned = BlockPose(np.zeros(2), pose.angle)
        starts = pose.to_world(self._places) + (RADIUS + GAP) * turned.to_world(self._normals)
        free = shapely.distance(self.outline(pose), shapely.points(starts)) >= RADIUS + GAP / 2
        inside = ((starts > LOW) & (starts < HIGH)).all(1)
        tried = []
        for start, normal in zip(starts[free & inside], turned.to_world(self._normals)[free & inside], strict=True):
            for slant in SLANTS:
                direction = BlockPose(np.zeros(2), float(slant)).to_world(-normal[None])[0]
                tried.append(self._try(pose, start, direction, speed))
        return tried

    def way(self, pose: BlockPose, agent: np.ndarray, there: np.ndarray, ring: np.ndarray) -> list[np.ndarray]:
        """Returns the corners of the disc's shortest path that does not touch the T; none if there is no path.

        Args:
            pose: pose of the T.
            agent: position of the disc (px).
            there: its goal (px), which is the path's last corner.
            ring: `[n, 2]`, the points where the path may turn, relative to the T's centre (px).
        """
        outline = self.outline(pose)
        # The disc may leave what it touches.
        obstacle = outline.buffer(RADIUS + 1).difference(shapely.Point(agent).buffer(RADIUS / 2))
        centre = np.array(outline.centroid.coords[0])
        places = np.concatenate([[agent, there], (centre + ring).clip(LOW, HIGH)])
        a, b = (grid.ravel() for grid in np.meshgrid(np.arange(len(places)), np.arange(len(places))))
        lines = shapely.linestrings(np.stack([places[a], places[b]], axis=1))
        lengths = np.where(shapely.intersects(lines, obstacle), 0.0, shapely.length(lines))
        _, before = shortest_path(lengths.reshape(len(places), -1), indices=0, return_predecessors=True)
        if before[1] < 0:
            return []
        way, place = [there], before[1]
        while place > 0:
            way.append(places[place])
            place = before[place]
        return way[::-1]

    def _try(self, pose: BlockPose, start: np.ndarray, direction: np.ndarray, speed: float) -> StraightPush:
        self._put(pose, start)
        best, steps = np.inf, 1
        for step in range(1, LONGEST + 1):
            self._board.advance(StraightPush(start, direction, speed, step, 0.0).goal(step).clip(0.0, 512.0).tolist())
            block = self._board.block
            error = self.error(BlockPose(np.array(block.position), block.angle))
            if error < best - 1e-3:
                best, steps = error, step
            elif step > steps + 3:
                break
        return StraightPush(start, direction, speed, steps, best)

    def _put(self, pose: BlockPose, agent: np.ndarray) -> None:
        board = self._board
        board.agent.position, board.agent.velocity = tuple(agent), (0.0, 0.0)
        # Rotation is about the centre of gravity, which is not the origin: set the angle before the position.
        board.block.angle = pose.angle
        board.block.position = tuple(pose.position)
        board.block.velocity, board.block.angular_velocity = (0.0, 0.0), 0.0
        board.space.reindex_shapes_for_body(board.agent)
        board.space.reindex_shapes_for_body(board.block)


def _along(outline: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns points on the edges of an outline `[n + 1, 2]`, and the outward normals there, `[m, 2]` each."""
    polygon, places, normals = shapely.Polygon(outline), [], []
    for a, b in pairwise(outline):
        length = np.linalg.norm(b - a)
        normal = np.array([b[1] - a[1], a[0] - b[0]]) / length
        count = max(1, round(length / SPACING))
        for share in (np.arange(count) + 0.5) / count:
            place = a + share * (b - a)
            outwards = 1 if not polygon.contains(shapely.Point(place + normal)) else -1
            places.append(place)
            normals.append(outwards * normal)
    return np.array(places), np.array(normals)
