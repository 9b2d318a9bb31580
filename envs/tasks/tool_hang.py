"""ToolHang: stand the frame in the stand, and hang the tool on the frame's arm."""

from collections.abc import Callable

import numpy as np

from paradp.envs.actions import CLOSE, OPEN
from paradp.envs.experts.holding import Hold, bring, point_of, strain, turn_of
from paradp.envs.experts.waypoints import HAND_DOWN, Pose, Scene, Script, ScriptedExpert
from paradp.envs.robosuite_task import RobosuiteTask
from paradp.envs.rotations import matrix_to_rotvec, rotvec_to_matrix, wrap_angle, yaw_matrix
from paradp.envs.task import TaskEntry

UP = np.array([0.0, 0.0, 1.0])
# The frame (m): its rod points along z, and an arm from the rod's top along −x, which ends in a hook.
GRIP, TIP, HOOK = np.array([0.04375, 0, 0.0525]), np.array([0.04375, 0, -0.1345]), np.array([-0.04375, 0, 0.08625])
# The stand (m): the mouth of its hole, and how deep the tip goes.
MOUTH, DEPTH = np.array([0.0, 0.045, 0.08]), 0.145
# The tool (m): the centre of its ring, from where its handle points along x; z is the ring's axis.
RING = np.array([-0.09354, 0.0, 0.0])
# Of the held tool's remaining way.
GAIN = 1.5
# The way of the ring round the hook: tilt of the tool (rad), place outwards along the arm, and above it (m).
TILTS = [0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.1, 1.25, 1.4]
OUTWARDS = [0, 0, 0, -0.001, -0.0035, -0.006, -0.007, -0.008, -0.009]
ABOVE = [0.009, 0.006, 0.004, 0.0025, 0.0015, 0.0005, 0, -0.0005, -0.001]


Lost = Callable[[Scene], bool]


class ToolHangExpert(ScriptedExpert):
    """Stands the frame in the stand and hangs the tool on it."""

    objects = ("stand", "frame", "tool")
    phase = ""

    def script(self, scene: Scene) -> Script:
        while True:
            scene = yield from self._hang(scene) if _assembled(scene) else self._assemble(scene)
            self.phase = "release"
            scene = yield from self.hold(scene, OPEN, 4)
            back = scene.eef_pos - 0.08 * scene.eef_rotation[:, 2], scene.eef_rotation
            scene = yield from self.move(scene, lambda now, back=back: back, OPEN, tolerance_m=0.03, timeout=20)

    def _assemble(self, scene: Scene) -> Script:
        side, flip = self._choose_frame_grasp(scene)
        upright = yaw_matrix({(1, 1): np.pi, (1, -1): -np.pi / 2, (-1, 1): np.pi / 2, (-1, -1): np.pi / 2}[side, flip])
        lean = 0.75 + self.spread(self._variety.whim_rad / 2, 1)[0]
        approach = np.array([0, side * np.cos(lean), -np.sin(lean)])
        along = self.spread(self._variety.grasp_m, 1)[0] - 0.005
        hold = Hold.at(GRIP + along * UP - 0.004 * approach, np.array([flip, 0, 0]), approach)

        def lost(now: Scene) -> bool:
            return now.opening < 0.015 or hold.slip(now, "frame") > 0.025

        scene = yield from self._take(scene, "frame", hold)
        if _depth(scene) < 0.02:
            scene = yield from self._raise(scene, upright, lost)
        return (yield from self._insert(scene, upright, lost))

    def _choose_frame_grasp(self, scene: Scene) -> tuple[int, int]:
        frame = scene.objects["frame"]
        side = 1 if frame.rotation[2, 1] < 0.3 else -1
        if frame.rotation[2, 2] > 0.7:
            return side, 1

        def cost(flip: int) -> float:
            approach = np.array([0, side * 0.73, -0.68])
            position, rotation = Hold.at(GRIP, np.array([flip, 0, 0]), approach).of(frame)
            return strain(turn_of(rotation, position)) - flip

        return side, min((1, -1), key=cost)

    def _raise(self, scene: Scene, upright: np.ndarray, lost: Lost) -> Script:
        """Lifts the frame and turns it upright, away from the robot, where the wrist can turn."""
        self.phase = "lift frame"
        aside, rotation = np.array([0.1, -0.2, 1.1]) + self.spread(self._variety.via_m), scene.eef_rotation
        scene = yield from self.move(scene, lambda now: (aside, rotation), CLOSE, 0.08, 0.5, lost=lost)

        def turned(now: Scene) -> Pose:
            return aside + [0, 0.08, 0.08], upright @ now.objects["frame"].rotation.T @ now.eef_rotation

        self.phase = "turn frame"
        return (yield from self.move(scene, turned, CLOSE, 0.05, 0.3, timeout=80, lost=lost))

    def _insert(self, scene: Scene, upright: np.ndarray, lost: Lost) -> Script:
        def over(now: Scene, height: float, gain: float = 1.0) -> Pose:
            return bring(now, now.objects["frame"], TIP, point_of(now.objects["stand"], MOUTH) + height * UP, upright, gain)

        def down(now: Scene) -> Pose:
            """Lowers the rod where its tip is over the hole or in it."""
            aside = float(np.abs(_off(now)[:2]).max())
            askew = np.linalg.norm(matrix_to_rotvec(upright @ now.objects["frame"].rotation.T))
            if (_depth(now) > 0.002 and aside < 0.0055) or (aside < 0.004 and askew < 0.1):
                return over(now, -_depth(now) - 0.015)
            return over(now, 0.006, GAIN)

        def ended(now: Scene) -> bool:
            return _depth(now) > DEPTH or lost(now)

        if _depth(scene) < 0.02:
            self.phase = "carry frame"
            scene = yield from self.move(scene, lambda now: over(now, 0.03), CLOSE, 0.02, 0.2, timeout=80, lost=ended)
        self.phase = "insert"
        return (yield from self.move(scene, down, CLOSE, 0.0, timeout=250, lost=ended))

    def _hang(self, scene: Scene) -> Script:
        tool, out = scene.objects["tool"], _arm_yaw(scene)
        face = 1 if tool.rotation[2, 2] > 0 else -1
        turned = np.diag([1, face, face])
        lean = 0.35 + self.spread(self._variety.whim_rad / 2, 1)[0]
        along = 1.5 * self.spread(self._variety.grasp_m, 1)[0]
        approach = turned @ np.array([np.sin(lean), 0, -np.cos(lean)])
        place = along * np.array([1.0, 0, 0]) - 0.004 * approach
        holds = [Hold.at(place, turned @ [0, flip, 0], approach) for flip in (1, -1)]

        def turns(hold: Hold) -> tuple[float, float]:
            position, rotation = hold.of(tool)
            final = yaw_matrix(out) @ turned @ hold.rotation
            return turn_of(rotation, position), turn_of(final, point_of(scene.objects["frame"], HOOK))

        def cost(hold: Hold) -> float:
            return sum(map(strain, turns(hold)))

        hold = min(holds, key=cost)
        begin, end = turns(hold)

        def lost(now: Scene) -> bool:
            return now.opening < 0.02 or hold.slip(now, "tool") > 0.04

        def ring(now: Scene, outwards: float, above: float, tilt: float, turn: float = 0.0) -> Pose:
            """The hand's pose for a place of the ring outwards and above the hook, and a tilt and a turn of the tool."""
            frame, yaw = now.objects["frame"], _arm_yaw(now)
            place = point_of(frame, HOOK) + yaw_matrix(yaw) @ [outwards, 0, above]
            rotation = yaw_matrix(yaw - turn) @ rotvec_to_matrix(np.array([0, tilt, 0])) @ turned
            return bring(now, now.objects["tool"], RING, place, rotation, GAIN)

        def moving(scene: Scene, tolerance_m: float, tolerance_rad: float, timeout: int, *place: float) -> Script:
            return self.move(
                scene, lambda now: ring(now, *place), CLOSE, tolerance_m, tolerance_rad, timeout=timeout, lost=lost
            )

        scene = yield from self._take(scene, "tool", hold)
        if not _on_hook(scene):
            self.phase = "lift tool"
            up = np.append(scene.eef_pos[:2], 1.15), scene.eef_rotation
            scene = yield from self.move(scene, lambda now: up, CLOSE, 0.05, 0.5, lost=lost)
            self.phase = "carry tool"
            scene = yield from moving(scene, 0.05, 0.7, 40, 0.10, 0.16, 0.0, (end - begin) / 2)
            scene = yield from moving(scene, 0.04, 0.3, 80, 0.06, 0.12, 0.2)
            scene = yield from moving(scene, 0.005, 0.1, 60, 0.0, 0.035, 0.3)
            self.phase = "lower tool"
            scene = yield from moving(scene, 0.004, 0.1, 20, 0.0, 0.006, 0.35)
        self.phase = "sweep tool"

        def sweep(now: Scene) -> Pose:
            tilt = _tilt(now) + 0.15
            return ring(now, *(float(np.interp(tilt, TILTS, way)) for way in (OUTWARDS, ABOVE)), tilt)

        def over(now: Scene) -> bool:
            inwards = (point_of(now.objects["frame"], HOOK) - point_of(now.objects["tool"], RING)) @ yaw_matrix(_arm_yaw(now))[:, 0]
            return lost(now) or (_tilt(now) > 0.75 and inwards > 0.003)

        return (yield from self.move(scene, sweep, CLOSE, 0.0, timeout=30, lost=over))

    def _take(self, scene: Scene, name: str, hold: Hold) -> Script:
        """Takes the frame or the tool; goes over the frame if that stands already."""
        self.phase = "take " + name
        detour = self.spread(self._variety.via_m) + 0.03 * UP
        if name == "tool" and not _on_hook(scene):
            high = np.append(scene.eef_pos[:2], 1.18), scene.eef_rotation
            scene = yield from self.move(scene, lambda now: high, OPEN, 0.03, 0.4)
            middle = np.array([-0.05, -0.05, 1.18]) + detour, yaw_matrix(-0.3) @ HAND_DOWN
            scene = yield from self.move(scene, lambda now: middle, OPEN, 0.05, 0.6)
        elif name == "frame" and _depth(scene) < 0.02:
            # The wrist is near a singularity where the hand begins.
            middle = np.array([0.03, -0.12, 1.08]) + detour, yaw_matrix(0.5) @ HAND_DOWN
            scene = yield from self.move(scene, lambda now: middle, OPEN, 0.05, 0.6)

        def past(now: Scene) -> Pose:
            position, rotation = hold.of(now.objects[name], 0.1)
            return position + detour, rotation

        scene = yield from self.move(scene, past, OPEN, 0.03, 0.4)
        scene = yield from self.move(scene, lambda now: hold.of(now.objects[name], 0.05), OPEN, 0.012, 0.12, timeout=40)
        scene = yield from self.move(scene, lambda now: hold.of(now.objects[name]), OPEN, 0.005, 0.06, timeout=25)
        return (yield from self.hold(scene, CLOSE, 7))


def _off(scene: Scene) -> np.ndarray:
    """From the mouth of the stand's hole to the frame's tip (m)."""
    return point_of(scene.objects["frame"], TIP) - point_of(scene.objects["stand"], MOUTH)


def _depth(scene: Scene) -> float:
    """How deep the frame's tip is in the hole (m); negative where it is not."""
    off = _off(scene)
    return float(-off[2]) if np.abs(off[:2]).max() < 0.01 else min(float(-off[2]), 0.0)


def _assembled(scene: Scene) -> bool:
    return _depth(scene) > 0.135


def _arm_yaw(scene: Scene) -> float:
    """Where the frame's arm points (rad)."""
    return wrap_angle(scene.objects["frame"].yaw + np.pi)


def _tilt(scene: Scene) -> float:
    """How far the tool's handle hangs down from its ring (rad)."""
    return float(np.arcsin(np.clip(-scene.objects["tool"].rotation[2, 0], -1, 1)))


def _on_hook(scene: Scene) -> bool:
    """Whether the tool's ring is about the hook."""
    return float(np.linalg.norm(point_of(scene.objects["tool"], RING) - point_of(scene.objects["frame"], HOOK))) < 0.015


TOOL_HANG = TaskEntry(
    RobosuiteTask(
        name="tool-hang",
        robosuite_name="ToolHang",
        objects={"stand": "stand_root", "frame": "frame_root", "tool": "tool_root"},
        success_rule="the frame stands in the stand, and the tool, which the hand does not touch, hangs on the frame",
        max_steps=700,
    ),
    ToolHangExpert,
)
