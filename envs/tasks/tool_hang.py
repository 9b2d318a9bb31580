"""ToolHang: stand the frame in the stand, and hang the tool on the frame's arm."""

from dataclasses import dataclass

import numpy as np

from paradp.envs.actions import CLOSE, OPEN
from paradp.envs.experts.holding import HandHold, bring, point_of, strain, turn_of
from paradp.envs.experts.waypoints import HAND_DOWN, Pose, Scene, Script, ScriptedExpert
from paradp.envs.robosuite_task import RobosuiteTask
from paradp.envs.rotations import matrix_to_rotvec, rotvec_to_matrix, wrap_angle, yaw_matrix
from paradp.envs.success import tool_hangs_on_frame
from paradp.envs.task import TaskEntry

UP = np.array([0.0, 0.0, 1.0])
# The frame (m): its rod points along z, and an arm from the rod's top along −x, which ends in a hook.
GRIP, TIP, HOOK = np.array([0.04375, 0, 0.0525]), np.array([0.04375, 0, -0.1345]), np.array([-0.04375, 0, 0.08625])
# The stand (m): the mouth of its hole; the depth of the tip in it from which the rod stands, and which it should reach.
MOUTH, STANDS, DEPTH = np.array([0.0, 0.045, 0.08]), 0.135, 0.145
# The tool (m): the centre of its ring, from where its handle points along x; z is the ring's axis.
RING = np.array([-0.09354, 0.0, 0.0])
# The way of the ring round the hook: tilt of the tool (rad), place outwards along the arm, and above it (m).
TILTS = [0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.1]
OUTWARDS = [0, 0, 0, -0.001, -0.0035, -0.006, -0.007]
ABOVE = [0.009, 0.006, 0.004, 0.0025, 0.0015, 0.0005, 0]
# The tool is let go from this tilt on (rad), so far inside the hook (m).
LET_GO_RAD, LET_GO_M = 0.75, 0.003
# Factor of the remaining way where position matters, because of the friction of the arm's joints.
GAIN = 1.5
# How far the hand may be ahead while the ring touches the hook, because the stand's walls are thin (m).
PRESS_M = 0.025


@dataclass(frozen=True)
class FrameGrasp:
    """How the hand holds the frame, and the frame's rotation in the stand."""

    hold: HandHold
    upright: np.ndarray

    def lost(self, scene: Scene) -> bool:
        """Whether the fingers closed on nothing, or the frame slipped."""
        return scene.opening < 0.015 or self.hold.slip(scene, "frame") > 0.025

    def over(self, scene: Scene, height: float, gain: float = 1.0) -> Pose:
        """The hand's pose for the upright frame with its tip above the hole."""
        mouth = point_of(scene.objects["stand"], MOUTH)
        return bring(scene, scene.objects["frame"], TIP, mouth + height * UP, self.upright, gain)

    def down(self, scene: Scene) -> Pose:
        """Lowers the rod where its tip is over the hole or in it."""
        depth, aside = _depth(scene), float(np.abs(_off(scene)[:2]).max())
        askew = np.linalg.norm(matrix_to_rotvec(self.upright @ scene.objects["frame"].rotation.T))
        if (depth > 0.002 and aside < 0.0055) or (aside < 0.004 and askew < 0.1):
            return self.over(scene, -depth - (0.015 if depth < 0.02 else 0.025))
        return self.over(scene, 0.006, GAIN)


@dataclass(frozen=True)
class ToolGrasp:
    """How the hand holds the tool: `turned` is the tool's rotation where its handle points outwards along the arm."""

    hold: HandHold
    turned: np.ndarray

    def lost(self, scene: Scene) -> bool:
        """Whether the fingers closed on nothing, or the tool slipped."""
        return scene.opening < 0.02 or self.hold.slip(scene, "tool") > 0.04

    def turns(self, scene: Scene) -> tuple[float, float]:
        """The hand's turns for taking the tool and for hanging it (rad)."""
        position, rotation = self.hold.of(scene.objects["tool"])
        hanging = yaw_matrix(_arm_yaw(scene)) @ self.turned @ self.hold.rotation
        return turn_of(rotation, position), turn_of(hanging, point_of(scene.objects["frame"], HOOK))

    def ring(self, scene: Scene, outwards: float, above: float, tilt: float, turn: float = 0.0) -> Pose:
        """The hand's pose for a place of the ring against the hook (m), and a tilt and a turn of the tool (rad)."""
        yaw = _arm_yaw(scene)
        place = point_of(scene.objects["frame"], HOOK) + yaw_matrix(yaw) @ [outwards, 0, above]
        rotation = yaw_matrix(yaw - turn) @ rotvec_to_matrix(np.array([0, tilt, 0])) @ self.turned
        return bring(scene, scene.objects["tool"], RING, place, rotation, GAIN)

    def sweep(self, scene: Scene) -> Pose:
        """Tilts the tool further down; its ring goes from the hook's end round the corner onto the arm."""
        tilt = _tilt(scene) + 0.15
        outwards, above = (float(np.interp(tilt, TILTS, way)) for way in (OUTWARDS, ABOVE))
        goal, rotation = self.ring(scene, outwards, above, tilt)
        return scene.eef_pos + np.clip(goal - scene.eef_pos, -PRESS_M, PRESS_M), rotation


class ToolHangExpert(ScriptedExpert):
    """Stands the frame in the stand and hangs the tool on it."""

    objects = ("stand", "frame", "tool")

    def script(self, scene: Scene) -> Script:
        while True:
            scene = yield from self._hang(scene) if _depth(scene) > STANDS else self._assemble(scene)
            scene = yield from self.hold(scene, OPEN, 4)
            back = scene.eef_pos - 0.08 * scene.eef_rotation[:, 2], scene.eef_rotation
            scene = yield from self.move(scene, lambda now, back=back: back, OPEN, tolerance_m=0.03, timeout=20)

    def _assemble(self, scene: Scene) -> Script:
        grasp = self._choose_frame_grasp(scene)
        if _depth(scene) < 0.02:
            # Away from where the wrist is near a singularity.
            middle = np.array([0.03, -0.12, 1.08]) + self.spread(self._variety.via_m), yaw_matrix(0.5) @ HAND_DOWN
            scene = yield from self.move(scene, lambda now: middle, OPEN, 0.05, 0.6)
        scene = yield from self._take(scene, "frame", grasp.hold)
        if _depth(scene) < 0.02:
            scene = yield from self._raise(scene, grasp)

        def ended(now: Scene) -> bool:
            return _depth(now) > DEPTH or grasp.lost(now)

        return (yield from self.move(scene, grasp.down, CLOSE, 0.0, timeout=250, lost=ended))

    def _choose_frame_grasp(self, scene: Scene) -> FrameGrasp:
        """Leans the hand so that it points down at the lying frame, and also at the standing one."""
        frame = scene.objects["frame"]
        side = 1 if frame.rotation[2, 1] < 0.3 else -1
        lean = 0.75 + self.spread(self._variety.whim_rad / 2, 1)[0]
        approach = np.array([0, side * np.cos(lean), -np.sin(lean)])
        along = self.spread(self._variety.grasp_m, 1)[0] - 0.005
        place = GRIP + along * UP - 0.004 * approach
        holds = {flip: HandHold.at(place, np.array([flip, 0, 0]), approach) for flip in (1, -1)}

        def cost(flip: int) -> float:
            position, rotation = holds[flip].of(frame)
            return strain(turn_of(rotation, position)) - flip

        flip = 1 if frame.rotation[2, 2] > 0.7 else min(holds, key=cost)
        yaws = {(1, 1): np.pi, (1, -1): -np.pi / 2, (-1, 1): np.pi / 2, (-1, -1): np.pi / 2}
        return FrameGrasp(holds[flip], yaw_matrix(yaws[side, flip]))

    def _raise(self, scene: Scene, grasp: FrameGrasp) -> Script:
        """Lifts the frame, turns it upright away from the robot, where the wrist can turn, and brings it over the hole."""
        aside, rotation = np.array([0.1, -0.2, 1.1]) + self.spread(self._variety.via_m), scene.eef_rotation
        scene = yield from self.move(scene, lambda now: (aside, rotation), CLOSE, 0.08, 0.5, lost=grasp.lost)

        def turned(scene: Scene) -> Pose:
            correction = grasp.upright @ scene.objects["frame"].rotation.T
            return aside + np.array([0, 0.08, 0.08]), correction @ scene.eef_rotation

        scene = yield from self.move(scene, turned, CLOSE, 0.05, 0.3, timeout=80, lost=grasp.lost)
        return (
            yield from self.move(scene, lambda now: grasp.over(now, 0.03), CLOSE, 0.02, 0.2, timeout=80, lost=grasp.lost)
        )

    def _hang(self, scene: Scene) -> Script:
        grasp = self._choose_tool_grasp(scene)
        begin, end = grasp.turns(scene)

        def ended(now: Scene) -> bool:
            return grasp.lost(now) or _hangs(now) or not _about_hook(now)

        if not _about_hook(scene):
            scene = yield from self._go_over(scene)
        scene = yield from self._take(scene, "tool", grasp.hold)
        if not _about_hook(scene):
            up = np.append(scene.eef_pos[:2], 1.15), scene.eef_rotation
            scene = yield from self.move(scene, lambda now: up, CLOSE, 0.05, 0.5, lost=grasp.lost)
            scene = yield from self._ring(scene, grasp, (0.10, 0.16, 0.0, (end - begin) / 2), 0.05, 0.7, 40)
        for _ in range(8):
            if not _about_hook(scene):
                scene = yield from self._lower(scene, grasp)
            scene = yield from self.move(scene, grasp.sweep, CLOSE, 0.0, timeout=30, lost=ended)
            if grasp.lost(scene) or (_about_hook(scene) and _from_hook(scene)[2] < 0.012):
                break
        return scene

    def _choose_tool_grasp(self, scene: Scene) -> ToolGrasp:
        lean = 0.35 + self.spread(self._variety.whim_rad / 2, 1)[0]
        along = 1.5 * self.spread(self._variety.grasp_m, 1)[0]
        face = 1 if scene.objects["tool"].rotation[2, 2] > 0 else -1
        turned = np.diag([1.0, face, face])
        approach = turned @ np.array([np.sin(lean), 0, -np.cos(lean)])
        place = np.array([along, 0, 0]) - 0.004 * approach
        grasps = [ToolGrasp(HandHold.at(place, turned @ [0, flip, 0], approach), turned) for flip in (1, -1)]
        return min(grasps, key=lambda grasp: sum(map(strain, grasp.turns(scene))))

    def _go_over(self, scene: Scene) -> Script:
        """Moves the hand up, and over the standing frame."""
        high = np.append(scene.eef_pos[:2], 1.18), scene.eef_rotation
        scene = yield from self.move(scene, lambda now: high, OPEN, 0.03, 0.4)
        middle = np.array([-0.05, -0.05, 1.2]) + self.spread(self._variety.via_m), yaw_matrix(-0.3) @ HAND_DOWN
        return (yield from self.move(scene, lambda now: middle, OPEN, 0.05, 0.6))

    def _lower(self, scene: Scene, grasp: ToolGrasp) -> Script:
        """Brings the ring above the hook, from below round its outside, and lowers it about the hook."""
        if _from_hook(scene)[2] < 0.01:
            scene = yield from self._ring(scene, grasp, (0.06, 0.0, 0.2, 0.0), 0.02, 0.5, 20)
        scene = yield from self._ring(scene, grasp, (0.06, 0.12, 0.2, 0.0), 0.04, 0.3, 80)
        scene = yield from self._ring(scene, grasp, (0.0, 0.035, 0.3, 0.0), 0.006, 0.12, 50)
        for _ in range(20):
            scene = yield from self._ring(scene, grasp, (0.0, 0.006, 0.35, 0.0), 0.004, 0.1, 1)
            if not _about_hook(scene):
                break
        return scene

    def _ring(
        self,
        scene: Scene,
        grasp: ToolGrasp,
        place: tuple[float, float, float, float],
        tolerance_m: float,
        tolerance_rad: float,
        timeout: int,
    ) -> Script:
        def pose_of(scene: Scene) -> Pose:
            return grasp.ring(scene, *place)

        return self.move(scene, pose_of, CLOSE, tolerance_m, tolerance_rad, timeout=timeout, lost=grasp.lost)

    def _take(self, scene: Scene, name: str, hold: HandHold) -> Script:
        """Takes the frame or the tool, along the hand's axis."""
        detour = self.spread(self._variety.via_m) + 0.03 * UP

        def past(scene: Scene) -> Pose:
            position, rotation = hold.of(scene.objects[name], 0.1)
            return position + detour, rotation

        scene = yield from self.move(scene, past, OPEN, 0.03, 0.4)
        scene = yield from self.move(scene, lambda now: hold.of(now.objects[name], 0.05), OPEN, 0.012, 0.12, timeout=40)
        scene = yield from self.move(scene, lambda now: hold.of(now.objects[name]), OPEN, 0.005, 0.06, timeout=25)
        return (yield from self.hold(scene, CLOSE, 7))


def _off(scene: Scene) -> np.ndarray:
    """From the mouth of the stand's hole to the frame's tip (m)."""
    return point_of(scene.objects["frame"], TIP) - point_of(scene.objects["stand"], MOUTH)


def _depth(scene: Scene) -> float:
    """How deep the frame's tip is in the hole (m); negative above it, and 0 beside it."""
    off = _off(scene)
    return float(-off[2]) if np.abs(off[:2]).max() < 0.01 else min(float(-off[2]), 0.0)


def _arm_yaw(scene: Scene) -> float:
    """The yaw of the frame's arm, from the rod to the hook (rad)."""
    return wrap_angle(scene.objects["frame"].yaw + np.pi)


def _tilt(scene: Scene) -> float:
    """How far the tool's handle hangs down from its ring (rad)."""
    return float(np.arcsin(np.clip(-scene.objects["tool"].rotation[2, 0], -1, 1)))


def _from_hook(scene: Scene) -> np.ndarray:
    """The place of the ring: outwards, sideways and above the hook (m)."""
    off = point_of(scene.objects["tool"], RING) - point_of(scene.objects["frame"], HOOK)
    return yaw_matrix(-_arm_yaw(scene)) @ off


def _about_hook(scene: Scene) -> bool:
    """Whether the tool's ring is about the hook, or right above it."""
    outwards, sideways, above = _from_hook(scene)
    return bool(-0.014 < outwards < 0.008 and abs(sideways) < 0.008 and -0.009 < above < 0.045)


def _hangs(scene: Scene) -> bool:
    """Whether the tool can be let go."""
    return _tilt(scene) > LET_GO_RAD and _from_hook(scene)[0] < -LET_GO_M


TOOL_HANG = TaskEntry(
    RobosuiteTask(
        name="tool-hang",
        robosuite_name="ToolHang",
        objects={"stand": "stand_root", "frame": "frame_root", "tool": "tool_root"},
        success=tool_hangs_on_frame,
        success_rule="the frame stands in the stand, and the tool, which the hand does not touch, hangs on the frame",
        # As in robomimic's recordings with images.
        cameras={"sideview_image": "sideview", "robot0_eye_in_hand_image": "robot0_eye_in_hand"},
        image_size=240,
        max_steps=700,
    ),
    ToolHangExpert,
)
