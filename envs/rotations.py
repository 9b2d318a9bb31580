"""The rotation representations that observations and actions use, on plain numpy arrays."""

import numpy as np
from scipy.spatial.transform import Rotation

# The least length of the first row, and of the second one across it: with less, rounding turns the rotation.
LEAST_ROW = 1e-4


def matrix_to_rotation_6d(matrix: np.ndarray) -> np.ndarray:
    """The first two rows of rotation matrices `[..., 3, 3]` as `[..., 6]`.

    The continuous representation of Zhou et al., "On the Continuity of Rotation Representations in Neural Networks"
    (CVPR 2019), with the row convention of pytorch3d and Diffusion Policy.
    """
    return matrix[..., :2, :].reshape(*matrix.shape[:-2], 6)


def rotation_6d_to_matrix(rotation_6d: np.ndarray) -> np.ndarray:
    """Rotation matrices `[..., 3, 3]` of any vectors `[..., 6]`, by Gram-Schmidt: a network's output need not be exact."""
    first, second = rotation_6d[..., :3], rotation_6d[..., 3:]
    x = first / np.maximum(np.linalg.norm(first, axis=-1, keepdims=True), 1e-8)
    y = second - (x * second).sum(-1, keepdims=True) * x
    y = y / np.maximum(np.linalg.norm(y, axis=-1, keepdims=True), 1e-8)
    return np.stack([x, y, np.cross(x, y)], axis=-2)


def check_rotation_6d(name: str, rotation_6d: np.ndarray) -> None:
    """Checks that vectors `[6]` of an action stand for a rotation.

    Args:
        name: of the quantity.
        rotation_6d: its values.

    Raises:
        ValueError: they stand for none; names the quantity.
    """
    first, second = np.asarray(rotation_6d, np.float64).reshape(2, 3)
    length = np.linalg.norm(first)
    if length < LEAST_ROW or np.linalg.norm(np.cross(first, second)) < LEAST_ROW * length:
        raise ValueError(f"the action's {name} {rotation_6d} is no rotation: its two rows must not be zero or parallel")


def matrix_to_rotvec(matrix: np.ndarray) -> np.ndarray:
    """Axis times angle in radians, `[3]`, of one rotation matrix `[3, 3]`."""
    return Rotation.from_matrix(matrix).as_rotvec()


def rotvec_to_matrix(rotvec: np.ndarray) -> np.ndarray:
    """The rotation matrix `[3, 3]` of one axis times angle in radians, `[3]`."""
    return Rotation.from_rotvec(rotvec).as_matrix()


def yaw_matrix(yaw: float) -> np.ndarray:
    """The rotation matrix `[3, 3]` about the vertical axis by `yaw` radians."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def wrap_angle(angle: float) -> float:
    """The same angle in [−π, π)."""
    return float((angle + np.pi) % (2 * np.pi) - np.pi)
