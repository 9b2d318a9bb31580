"""ToolHang: put the frame's rod into the stand's hole, and hang the tool on the frame's arm."""

from dataclasses import dataclass

import numpy as np

from paradp.envs.actions import CLOSE, OPEN
from paradp.envs.experts.waypoints import HAND_DOWN, Pose, PoseOf, Scene, Script, ScriptedExpert, Thing
from paradp.envs.robosuite_task import RobosuiteTask
from paradp.envs.rotations import matrix_to_rotvec, rotvec_to_matrix, wrap_angle, yaw_matrix
from paradp.envs.task import TaskEntry

UP = np.array([0.0, 0.0, 1.0])
# In the frame's coordinates (m): its rod stands along z, and its arm points along −x and ends in a hook.
GRIP, TIP, HOOK = np.array([0.04375, 0, 0.0525]), np.array([0.04375, 0, -0.1345]), np.array([-0.04375, 0, 0.08625])
# Mouth of the hole in the stand's coordinates, and its depth (m).
MOUTH, DEPTH = np.array([0.0, 0.045, 0.08]), 0.15
# The ring in the tool's coordinates (m), whose handle points from there along x; its axis is z.
RING = np.array([-0.09354, 0.0, 0.0])


@dataclass(frozen=True)
class Hold:
    """How the hand holds a thing: pose in the thing's coordinates."""

    position: np.ndarray
    rotation: np.ndarray

    def of(self, thing: Thing, back: float = 0.0) -> Pose:
        rotation = thing.rotation @ self.rotation
        return thing.position + thing.rotation @ self.position - back * rotation[:, 2], rotation


def _axes(closing: np.ndarray, approach: np.ndarray) -> np.ndarray:
    return np.stack([closing, np.cross(approach, closing), approach], axis=1)


def point(thing: Thing, at: np.ndarray) -> np.ndarray:
    return thing.position + thing.rotation @ at


def _bring(scene: Scene, thing: Thing, at: np.ndarray, position: np.ndarray, rotation: np.ndarray) -> Pose:
    correction = rotation @ thing.rotation.T
    return position + correction @ (scene.eef_pos - point(thing, at)), correction @ scene.eef_rotation


class ToolHangExpert(ScriptedExpert):
    objects = ("stand", "frame", "tool")
    phase = ""
    flip = 1

    def script(self, scene: Scene) -> Script:
        while True:
            if not _assembled(scene):
                scene = yield from self._assemble(scene)
            else:
                scene = yield from self._hang(scene)
            self.phase = "release"
            scene = yield from self.hold(scene, OPEN, 4)
            back = scene.eef_pos - 0.08 * scene.eef_rotation[:, 2], scene.eef_rotation
            scene = yield from self.move(scene, lambda now, back=back: back, OPEN, tolerance_m=0.03, timeout=20)

    def _take(self, scene: Scene, name: str, hold: Hold) -> Script:
        self.phase = "take " + name
        detour = self.spread(self._variety.via_m) + [0, 0, 0.03]

        def past(now: Scene) -> Pose:
            position, rotation = hold.of(now.objects[name], 0.1)
            return position + detour, rotation

        if _assembled(scene):
            high = np.append(scene.eef_pos[:2], 1.18), scene.eef_rotation
            scene = yield from self.move(scene, lambda now: high, OPEN, 0.03, 0.4)
            mid = np.array([-0.05, -0.05, 1.18]), yaw_matrix(-0.3) @ HAND_DOWN
            scene = yield from self.move(scene, lambda now: mid, OPEN, 0.05, 0.6)
        scene = yield from self.move(scene, past, OPEN, 0.03, 0.4, timeout=80)
        scene = yield from self.move(scene, lambda now: hold.of(now.objects[name], 0.05), OPEN, 0.012, 0.12)
        scene = yield from self.move(scene, lambda now: hold.of(now.objects[name]), OPEN, 0.005, 0.06, timeout=25)
        return (yield from self.hold(scene, CLOSE, 7))

    def _assemble(self, scene: Scene) -> Script:
        lean = 0.75
        along = self.spread(self._variety.grasp_m, 1)[0]
        approach = np.array([0, np.cos(lean), -np.sin(lean)])
        hold = Hold(GRIP + [0, 0, along - 0.005] - 0.004 * approach, _axes(self.flip * np.array([1.0, 0, 0]), approach))
        scene = yield from self._take(scene, "frame", hold)
        upright = yaw_matrix(np.pi)
        self.phase = "lift frame"
        aside = np.array([0.1, -0.2, 1.1]) + self.spread(self._variety.via_m)
        scene = yield from self.move(scene, lambda now: (aside, scene.eef_rotation), CLOSE, 0.08, 0.5, lost=_frame_lost)
        self.phase = "turn frame"

        def turn(now: Scene) -> Pose:
            return aside + [0, 0.08, 0.08], upright @ now.objects["frame"].rotation.T @ now.eef_rotation

        scene = yield from self.move(scene, turn, CLOSE, 0.05, 0.3, timeout=80, lost=_frame_lost)
        self.phase = "carry frame"

        def over(now: Scene, height: float) -> Pose:
            return _bring(now, now.objects["frame"], TIP, point(now.objects["stand"], MOUTH) + [0, 0, height], upright)

        scene = yield from self.move(scene, lambda now: over(now, 0.03), CLOSE, 0.02, 0.2, timeout=80, lost=_frame_lost)
        self.phase = "insert"

        def down(now: Scene) -> Pose:
            off = point(now.objects["frame"], TIP) - point(now.objects["stand"], MOUTH)
            aside, depth = float(np.abs(off[:2]).max()), -off[2]
            tilt = np.linalg.norm(matrix_to_rotvec(upright @ now.objects["frame"].rotation.T))
            if depth > 0 and aside < 0.006 or aside < 0.003 and tilt < 0.08:
                return over(now, -depth - 0.02)
            return over(now, 0.008)

        done = lambda now: _depth(now) > 0.145 or _frame_lost(now)
        return (yield from self.move(scene, down, CLOSE, 0.0, timeout=250, lost=done))

    def _hang(self, scene: Scene) -> Script:
        lean = 0.35
        along = self.spread(self._variety.grasp_m, 1)[0]
        face = 1.0 if scene.objects["tool"].rotation[2, 2] > 0 else -1.0
        flip = np.diag([1, face, face])
        approach = np.array([np.sin(lean), 0, -np.cos(lean)])
        hold = Hold(flip @ (np.array([along, 0, 0]) - 0.004 * approach), flip @ _axes(np.array([0, 1.0, 0]), approach))
        scene = yield from self._take(scene, "tool", hold)

        def ring(now: Scene, along: float, height: float, tilt: float) -> Pose:
            """Ring at a place relative to the hook: along the arm outwards, and up; the tool tilted down."""
            frame = now.objects["frame"]
            out = -frame.rotation[:, 0]
            yaw = np.arctan2(out[1], out[0])
            rotation = yaw_matrix(yaw) @ rotvec_to_matrix(np.array([0, tilt, 0])) @ flip
            return _bring(now, now.objects["tool"], RING, point(frame, HOOK) + along * out + height * UP, rotation)

        if not _on_hook(scene):
            self.phase = "lift tool"
            up = np.append(scene.eef_pos[:2], 1.15), scene.eef_rotation
            scene = yield from self.move(scene, lambda now: up, CLOSE, 0.05, 0.5, lost=_tool_lost)
            self.phase = "carry tool"
            for place in ((0.08, 0.16, 0.2, 0.04, 0.5), (0.03, 0.08, 0.2, 0.02, 0.2), (0.0, 0.035, 0.3, 0.004, 0.08)):
                scene = yield from self.move(scene, lambda now, p=place: ring(now, *p[:3]), CLOSE, *place[3:], timeout=80, lost=_tool_lost)
            self.phase = "lower tool"
            scene = yield from self.move(scene, lambda now: ring(now, 0.0, 0.006, 0.35), CLOSE, 0.003, 0.1, timeout=30, lost=_tool_lost)
        self.phase = "sweep tool"

        def sweep(now: Scene) -> Pose:
            tilt = _tilt(now) + 0.25
            return ring(now, np.interp(tilt, TILTS, OUT), np.interp(tilt, TILTS, HIGH), tilt)

        return (yield from self.move(scene, sweep, CLOSE, 0.0, timeout=30, lost=lambda now: _tool_lost(now) or _tilt(now) > 1.0))


TILTS = [0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.1, 1.25, 1.4]
OUT = [0, 0, 0, -0.0005, -0.0025, -0.005, -0.007, -0.008, -0.009]
HIGH = [0.009, 0.006, 0.004, 0.0025, 0.0015, 0.0005, 0, -0.0005, -0.001]


def _tilt(scene: Scene) -> float:
    return float(np.arcsin(np.clip(-scene.objects["tool"].rotation[2, 0], -1, 1)))


def _on_hook(scene: Scene) -> bool:
    return float(np.linalg.norm(point(scene.objects["tool"], RING) - point(scene.objects["frame"], HOOK))) < 0.015


def _frame_lost(scene: Scene) -> bool:
    return scene.opening < 0.015 or float(np.linalg.norm(point(scene.objects["frame"], GRIP) - scene.eef_pos)) > 0.04


def _tool_lost(scene: Scene) -> bool:
    return scene.opening < 0.02 or float(np.linalg.norm(scene.objects["tool"].position - scene.eef_pos)) > 0.05


def _depth(scene: Scene) -> float:
    return float(-(point(scene.objects["frame"], TIP) - point(scene.objects["stand"], MOUTH))[2])


def _assembled(scene: Scene) -> bool:
    off = point(scene.objects["frame"], TIP) - point(scene.objects["stand"], MOUTH)
    return bool(-off[2] > 0.135 and np.abs(off[:2]).max() < 0.008)


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
