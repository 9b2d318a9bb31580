"""The rotation representations that observations and actions use, on plain numpy arrays."""

import math

import numpy as np

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
    x = _unit(first)
    y = _unit(second - (x * second).sum(-1, keepdims=True) * x)
    matrix = np.empty((*rotation_6d.shape[:-1], 3, 3), x.dtype)
    matrix[..., 0, :], matrix[..., 1, :] = x, y
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        matrix[..., 2, i] = x[..., j] * y[..., k] - x[..., k] * y[..., j]
    return matrix


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.sqrt((vectors * vectors).sum(-1, keepdims=True)), 1e-8)


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
    """Axis times angle in radians, `[3]`, of one rotation matrix `[3, 3]`.

    Over the unit quaternion, from its largest component (Shepperd, "Quaternion from Rotation Matrix", 1978), so exact to
    rounding for every angle. In plain floats: numpy takes longer for each call than all of this.
    """
    (a, b, c), (d, e, f), (g, h, i) = matrix.tolist()
    # Four times the quaternion's products with its largest component.
    w, x, y, z = max(
        (1 + a + e + i, h - f, c - g, d - b),
        (h - f, 1 + a - e - i, b + d, c + g),
        (c - g, b + d, 1 - a + e - i, f + h),
        (d - b, c + g, f + h, 1 - a - e + i),
        key=max,
    )
    sine = math.sqrt(x * x + y * y + z * z)
    if sine == 0.0:
        return np.zeros(3)
    scale = math.copysign(2 * math.atan2(sine, abs(w)) / sine, w)
    return np.array([scale * x, scale * y, scale * z])


def rotvec_to_matrix(rotvec: np.ndarray) -> np.ndarray:
    """The rotation matrix `[3, 3]` of one axis times angle in radians, `[3]`."""
    return np.array(quaternion_rows(*rotvec_quaternion(*rotvec.tolist())))


def rotvec_quaternion(x: float, y: float, z: float) -> tuple[float, float, float, float]:
    """The unit quaternion x, y, z, w of an axis times an angle in radians. Compiled code calls it, too."""
    angle = math.sqrt(x * x + y * y + z * z)
    scale = math.sin(angle / 2) / angle if angle > 0 else 0.5
    return scale * x, scale * y, scale * z, math.cos(angle / 2)


def quaternion_rows(x: float, y: float, z: float, w: float) -> tuple[tuple[float, float, float], ...]:
    """The three rows of the rotation matrix of a unit quaternion. Compiled code calls it, too."""
    return (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )


def yaw_matrix(yaw: float) -> np.ndarray:
    """The rotation matrix `[3, 3]` about the vertical axis by `yaw` radians."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def wrap_angle(angle: float) -> float:
    """The same angle in [−π, π)."""
    return float((angle + np.pi) % (2 * np.pi) - np.pi)
