"""Kitchen: open the microwave, push the kettle back, turn on the light, open the cabinet, in several orders and ways."""

from collections.abc import Mapping, Sequence

import numpy as np

from paradp.envs.actions import CLOSE, OPEN, Goal, JointVelocityAction
from paradp.envs.experts.expert import ActionNoise
from paradp.envs.experts.waypoints import Pose, PoseOf, Scene, Script, Thing, Variety, WaypointExpert
from paradp.envs.kitchen_task import ENTRIES, KitchenTask
from paradp.envs.rotations import matrix_to_rotvec, rotvec_to_matrix, yaw_matrix
from paradp.envs.task import TaskEntry

VARIETY = Variety()
# Joint positions at the start of an episode (rad). Inverse kinematics prefers them where the hand's pose leaves a choice.
REST = np.array([0.148, -1.768, 1.844, -2.477, 0.260, 0.713, 1.595])
# The joint controllers correct only about half of an error in a control step, so commands are scaled up.
LEAD = 1.6
MICROWAVE_HINGE = np.array([-1.128, 0.455, 0.0])
CABINET_CLOSED_X = -0.108
# The stiff joint controllers follow a noisy goal at once, so the action noise of `paradp collect` is scaled down.
SHAKE = 0.3
# Lead of a joint's goal over its position in long motions (rad).
AHEAD_RAD = 0.12
# The expert treats a subtask as done beyond these values, with a margin to the environment's own thresholds (rad, m).
MICROWAVE_RAD, KETTLE_Y, SWITCH_RAD, CABINET_M = -0.52, 0.55, -0.42, 0.12
# From above HIGH_Z the hand first returns to HOME, its position at the start of an episode (m).
HIGH_Z, HOME = 2.2, np.array([-0.43, 0.12, 2.03])
# The order of subtasks keeps the lower two together, and the upper two.
LOWER, UPPER = ("microwave", "kettle"), ("switch", "cabinet")


class KitchenExpert(WaypointExpert):
    """Moves the hand through waypoints; inverse kinematics converts these to joint velocities.

    Args:
        action_convention: `"joint-velocity"`.
        action_noise: noise added to the executed action; none by default.
        variety: the random variation between demonstrations; `None` for the shortest motion.
    """

    def __init__(
        self,
        action_convention: str = JointVelocityAction.name,
        action_noise: ActionNoise | None = None,
        variety: Variety | None = VARIETY,
    ):
        from paradp.envs.experts.panda_arm import PandaArm  # loads the simulator's model

        self._arm = PandaArm()
        self._joints = REST
        self._subtasks = {
            "microwave": self._microwave,
            "kettle": self._kettle,
            "switch": self._switch,
            "cabinet": self._cabinet,
        }
        super().__init__(action_noise, variety)

    def reset(self, seed: int | None = None) -> None:
        super().reset(seed)
        self._rest = REST

    def see(self, observation: Mapping[str, np.ndarray]) -> Sequence[Scene]:
        positions = np.zeros(30)
        for key, entries in ENTRIES.items():
            positions[entries.start : entries.stop] = observation[key]
        self._joints = positions[:7]
        self._arm.place(positions)
        position, rotation = self._arm.hand()
        [microwave], [switch, _] = observation["microwave"].tolist(), observation["light_switch"].tolist()
        things = {
            "microwave": Thing(self._arm.site("microhandle_site"), yaw_matrix(microwave)),
            "kettle": Thing(positions[23:26], np.eye(3)),
            "switch": Thing(self._arm.site("light_site"), yaw_matrix(switch)),
            "cabinet": Thing(self._arm.site("slide_site"), np.eye(3)),
        }
        return [Scene(position, rotation, float(observation["fingers"].sum()), things)]

    def command(self, goals: Sequence[Goal], scenes: Sequence[Scene]) -> np.ndarray:
        [goal] = goals
        joints = self._arm.joints_for(goal.position, goal.rotation, self._rest)
        moves = LEAD * (joints - self._joints) + self._arm.sag()
        velocities = moves / (JointVelocityAction.fastest * JointVelocityAction.step_s)
        return np.clip([*velocities, -goal.gripper, -goal.gripper], -1, 1).astype(np.float32)

    def draw_action_noise(self) -> np.ndarray:
        return SHAKE * super().draw_action_noise()

    def script(self, scene: Scene) -> Script:
        order = self._order()
        while left := [name for name in order if not _is_done(name, scene)]:
            if left[0] in LOWER and scene.eef_pos[2] > HIGH_Z:
                scene = yield from self._reach(scene, HOME + self.spread(self._variety.via_m), FORWARDS, OPEN, 0.12, 0.6)
            scene = yield from self._subtasks[left[0]](scene)
        return scene

    def _order(self) -> list[str]:
        if self._variety.whim_rad == 0:
            return [*LOWER, *UPPER]
        halves = [[str(name) for name in self.rng.permutation(half)] for half in (LOWER, UPPER)]
        first = int(self.rng.integers(2))
        return [*halves[first], *halves[1 - first]]

    def _microwave(self, scene: Scene) -> Script:
        """Grasps the handle and pulls it about the door's hinge."""
        rotation = self._aim(38, -45)
        offset = np.array([0.0, 0.0, self.spread(2 * self._variety.grasp_m, 1)[0]])
        wanted = self.rng.uniform(0.62, 0.85) if self._variety.whim_rad else 0.7

        def pull(scene: Scene) -> Pose:
            target = MICROWAVE_HINGE + yaw_matrix(-0.12) @ (scene.eef_pos - MICROWAVE_HINGE)
            return np.array([*target[:2], scene.eef_pos[2]]), rotation

        scene = yield from self._grasp("microwave", scene, rotation, offset)

        def ended(scene: Scene) -> bool:
            return scene.objects["microwave"].yaw < -wanted or scene.opening < 0.02

        scene = yield from self.move(scene, pull, CLOSE, 0.0, speed=0.6, timeout=40, lost=ended)
        return (yield from self._let_go(scene, 0.15))

    def _kettle(self, scene: Scene) -> Script:
        """Pushes the kettle over the stove, with the fingers against its front."""
        rotation = self._aim(-20, -40)
        side = self.spread(self._variety.grasp_m, 1)[0]
        end = self.rng.uniform(0.63, 0.69) if self._variety.whim_rad else 0.66
        x, y = scene.objects["kettle"].position[:2]
        via = np.array([x - 0.02, y - 0.3, 1.9]) + self.spread(self._variety.via_m)
        scene = yield from self._reach(scene, via, rotation, CLOSE, 0.05, 0.3)
        low = np.array([x + side, y - 0.2, 1.72])
        scene = yield from self.move(scene, _fixed(low, rotation), CLOSE, 0.03, 0.2)
        self._rest = self._arm.far_joints(np.array([x, y + 0.15, 1.70]), rotation, REST)

        def push(scene: Scene) -> Pose:
            return np.array([scene.objects["kettle"].position[0] + side, scene.eef_pos[1] + 0.06, 1.70]), rotation

        scene = yield from self.move(
            scene, push, CLOSE, 0.0, timeout=60, lost=lambda now: now.objects["kettle"].position[1] > end
        )
        back = scene.eef_pos - np.array([0.0, 0.12, 0.0])
        scene = yield from self.move(scene, _fixed(back, rotation), CLOSE, 0.03)
        up = scene.eef_pos + np.array([0.0, -0.05, 0.2])
        return (yield from self.move(scene, _fixed(up, rotation), CLOSE, 0.05))

    def _switch(self, scene: Scene) -> Script:
        """Places the fingers at the switch, closed or open, and turns it to the left."""
        rotation = self._aim(5, -20)
        gripper = CLOSE if self.rng.random() < 0.5 or not self._variety.whim_rad else OPEN

        def turn(scene: Scene) -> Pose:
            return np.array([scene.eef_pos[0] - 0.06, scene.objects["switch"].position[1], 2.28]), rotation

        scene = yield from self._grasp("switch", scene, rotation, np.zeros(3), gripper)
        turned = lambda now: now.objects["switch"].yaw < -0.62  # noqa: E731
        scene = yield from self.move(scene, turn, gripper, 0.0, timeout=30, lost=turned)
        return (yield from self._let_go(scene, 0.15))

    def _cabinet(self, scene: Scene) -> Script:
        """Pushes the handle to the right from its left side, or grasps it and pulls."""
        rotation = self._aim(-20, -5)
        height = -0.05 + self.spread(2 * self._variety.grasp_m, 1)[0]
        wanted = self.rng.uniform(0.25, 0.38) if self._variety.whim_rad else 0.3
        if self._variety.whim_rad and self.rng.random() < 0.5:
            scene = yield from self._grasp("cabinet", scene, rotation, np.array([0.0, 0.0, height]))
        else:
            beside = scene.objects["cabinet"].position + np.array([-0.075, 0.015, height])
            via = beside + np.array([-0.02, -0.16, -0.04]) + self.spread(self._variety.via_m)
            scene = yield from self._reach(scene, via, rotation, CLOSE, 0.03, 0.3)
            scene = yield from self.move(scene, _fixed(beside, rotation), CLOSE, 0.02, 0.2, timeout=30)

        def slide(scene: Scene) -> Pose:
            handle = scene.objects["cabinet"].position
            return np.array([scene.eef_pos[0] + 0.06, handle[1] + 0.01, handle[2] + height]), rotation

        opened = lambda now: now.objects["cabinet"].position[0] - CABINET_CLOSED_X > wanted  # noqa: E731
        scene = yield from self.move(scene, slide, CLOSE, 0.0, timeout=40, lost=opened)
        return (yield from self._let_go(scene, 0.15))

    def _grasp(self, name: str, scene: Scene, rotation: np.ndarray, offset: np.ndarray, gripper: float = CLOSE) -> Script:
        """Moves the open fingers to both sides of a thing, then sets the gripper: CLOSE or OPEN."""
        detour = self.spread(self._variety.via_m)

        def before(scene: Scene, distance: float) -> Pose:
            return scene.objects[name].position + offset - distance * rotation[:, 2], rotation

        scene = yield from self._reach(scene, before(scene, 0.2)[0] + detour, rotation, OPEN, 0.05, 0.4)
        for _ in range(3):
            scene = yield from self.move(scene, lambda now: before(now, 0.09), OPEN, 0.007, 0.1, timeout=20)
            scene = yield from self.move(scene, lambda now: before(now, 0.0), OPEN, 0.015, 0.2, speed=0.8, timeout=12)
            if np.linalg.norm(scene.eef_pos - before(scene, 0.0)[0]) < 0.03:  # otherwise a finger is blocked by the thing
                break
        return (yield from self.hold(scene, gripper, 4 if gripper == CLOSE else 1))

    def _reach(
        self, scene: Scene, position: np.ndarray, rotation: np.ndarray, gripper: float, near_m: float, near_rad: float
    ) -> Script:
        """Makes a long motion along a straight line in joint space, so that the arm does not flip over."""
        self._rest = joints = self._arm.far_joints(position, rotation, REST)
        speed = AHEAD_RAD * self.rng.uniform(*self._variety.speed)
        for _ in range(60):
            turn = matrix_to_rotvec(rotation @ scene.eef_rotation.T)
            if np.linalg.norm(position - scene.eef_pos) < near_m and np.linalg.norm(turn) < near_rad:
                break
            step = joints - self._joints
            ahead = self._arm.pose_at(self._joints + step * min(1.0, speed / np.abs(step).max()))
            scene = yield Goal(*ahead, gripper)
        return scene

    def _let_go(self, scene: Scene, distance: float) -> Script:
        """Opens the fingers and draws them back."""
        scene = yield from self.hold(scene, OPEN, 2)
        back = scene.eef_pos - distance * scene.eef_rotation[:, 2]
        return (yield from self.move(scene, _fixed(back, scene.eef_rotation), OPEN, 0.03))

    def _aim(self, yaw: float, pitch: float) -> np.ndarray:
        """A rotation of the hand: pointing forwards, then turned left and raised by about these angles (degrees)."""
        left, up = np.radians([yaw, pitch]) + self.spread(self._variety.whim_rad / 2, 2)
        return yaw_matrix(left) @ rotvec_to_matrix(np.array([up, 0.0, 0.0])) @ FORWARDS


# The hand pointing along world y, its fingers opening along world x.
FORWARDS = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])


def _fixed(position: np.ndarray, rotation: np.ndarray) -> PoseOf:
    return lambda scene: (position, rotation)


def _is_done(name: str, scene: Scene) -> bool:
    thing = scene.objects[name]
    if name == "kettle":
        return bool(thing.position[1] > KETTLE_Y)
    if name == "cabinet":
        return bool(thing.position[0] - CABINET_CLOSED_X > CABINET_M)
    return thing.yaw < (MICROWAVE_RAD if name == "microwave" else SWITCH_RAD)


KITCHEN = TaskEntry(KitchenTask(), KitchenExpert)
