"""The arm of Franka Kitchen, for an expert: where its hand is, and which joint positions bring the hand elsewhere."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from paradp.envs.rendering import choose_gl
from paradp.envs.rotations import matrix_to_rotvec, rotvec_to_matrix

MODEL = Path("envs/assets/kitchen_franka/kitchen_assets/kitchen_env_model.xml")
JOINTS = 7
# Of the joints' position controllers (N·m/rad).
GAINS = np.array([870.0] * 4 + [120.0] * 3)
# A rotation error of 1 rad has the weight of this distance (m).
RADIAN_M = 0.15
# Damping of the least squares (m), pull towards the rest pose, and distance from the joints' limits (rad).
DAMPING, PULL, MARGIN = 0.05, 0.1, 0.02
ITERATIONS, LARGEST_RAD = 3, 0.3
WAY_STEPS = 20


class PandaArm:
    """Kinematics and gravity of the arm, by MuJoCo's model of the kitchen.

    The hand's frame has its origin at the fingertips, z along the fingers, and y across them, along which they open.
    """

    def __init__(self) -> None:
        choose_gl()
        import mujoco

        self._mujoco: Any = mujoco
        spec = find_spec("gymnasium_robotics")  # importing it would register all of its environments
        assert spec is not None and spec.submodule_search_locations
        self._model = mujoco.MjModel.from_xml_path(str(Path(spec.submodule_search_locations[0]) / MODEL))
        self._data = mujoco.MjData(self._model)
        self._site, self._link = self._model.site("end_effector").id, self._model.body("panda0_link7").id
        self._low = self._model.jnt_range[:JOINTS, 0] + MARGIN
        self._high = self._model.jnt_range[:JOINTS, 1] - MARGIN
        self._jacobian = np.zeros((6, self._model.nv))
        self._forces = np.zeros(self._model.nv)
        self.place(self._data.qpos)
        self._hand_in_link = self._hand()

    def place(self, positions: np.ndarray) -> None:
        """Puts everything where the simulator's positions `[30]` say."""
        self._data.qpos[:] = positions
        self._mujoco.mj_kinematics(self._model, self._data)
        self._mujoco.mj_comPos(self._model, self._data)

    def hand(self) -> tuple[np.ndarray, np.ndarray]:
        """The hand's position `[3]` (m) and rotation `[3, 3]` in the world."""
        return self._data.site_xpos[self._site].copy(), self._link_rotation() @ self._hand_in_link

    def site(self, name: str) -> np.ndarray:
        """The position of a site of the model (m)."""
        return self._data.site(name).xpos.copy()

    def sag(self) -> np.ndarray:
        """By how much gravity pushes each joint off its controller's goal here `[7]` (rad)."""
        self._data.qvel[:] = 0
        self._mujoco.mj_comVel(self._model, self._data)
        self._mujoco.mj_rne(self._model, self._data, 0, self._forces)
        return self._forces[:JOINTS] / GAINS

    def joints_for(self, position: np.ndarray, rotation: np.ndarray, rest: np.ndarray) -> np.ndarray:
        """Joint positions `[7]` that bring the hand to a pose nearby, by damped least squares from where the arm is.

        Args:
            position, rotation: of the hand.
            rest: the joint positions that the arm prefers, as far as the hand's pose leaves a choice.
        """
        positions, joints = self._data.qpos.copy(), self._data.qpos[:JOINTS].copy()
        for _ in range(ITERATIONS):
            at, turned = self.hand()
            error = np.concatenate([position - at, RADIAN_M * matrix_to_rotvec(rotation @ turned.T)])
            self._mujoco.mj_jacSite(self._model, self._data, self._jacobian[:3], self._jacobian[3:], self._site)
            jacobian = self._jacobian[:, :JOINTS] * np.repeat([1.0, RADIAN_M], 3)[:, None]
            inverse = jacobian.T @ np.linalg.inv(jacobian @ jacobian.T + DAMPING**2 * np.eye(6))
            step = inverse @ error + (np.eye(JOINTS) - inverse @ jacobian) @ (PULL * (rest - joints))
            joints = np.clip(joints + np.clip(step, -LARGEST_RAD, LARGEST_RAD), self._low, self._high)
            self.place(np.concatenate([joints, positions[JOINTS:]]))
        self.place(positions)
        return joints

    def far_joints(self, position: np.ndarray, rotation: np.ndarray, rest: np.ndarray) -> np.ndarray:
        """Joint positions `[7]` for any pose of the hand, found on a straight way from the rest pose, as often the same."""
        positions = self._data.qpos.copy()
        self.place(np.concatenate([rest, positions[JOINTS:]]))
        start, turned = self.hand()
        turn = matrix_to_rotvec(rotation @ turned.T)
        joints = rest
        for share in np.linspace(0, 1, WAY_STEPS + 1)[1:]:
            joints = self.joints_for(start + share * (position - start), rotvec_to_matrix(share * turn) @ turned, rest)
            self.place(np.concatenate([joints, positions[JOINTS:]]))
        self.place(positions)
        return joints

    def pose_at(self, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The hand's pose with other joint positions `[7]`."""
        positions = self._data.qpos.copy()
        self.place(np.concatenate([joints, positions[JOINTS:]]))
        pose = self.hand()
        self.place(positions)
        return pose

    def _link_rotation(self) -> np.ndarray:
        return self._data.xmat[self._link].reshape(3, 3)

    def _hand(self) -> np.ndarray:
        """The hand's rotation in the frame of the last link, from how the fingers lie and move."""
        across = self._data.xaxis[JOINTS]
        along = self._data.site_xpos[self._site] - self._data.xpos[self._link]
        along = along - across * (across @ along)
        along = along / np.linalg.norm(along)
        return self._link_rotation().T @ np.stack([np.cross(across, along), across, along], axis=1)
