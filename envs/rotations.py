"""The rotation representations that observations and actions use, on plain numpy arrays."""

import math
from collections.abc import Sequence

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
    rows = [_orthonormal_rows(*values) for values in rotation_6d.reshape(-1, 6).tolist()]
    return np.array(rows, rotation_6d.dtype).reshape(*rotation_6d.shape[:-1], 3, 3)


def rotation_6d_to_rotvec(rotation_6d: np.ndarray) -> np.ndarray:
    """Axis times angle in radians, `[3]`, of any vector `[6]`."""
    return np.array(_rotvec(_orthonormal_rows(*rotation_6d.tolist())))


def check_rotation_6d(name: str, rotation_6d: np.ndarray) -> None:
    """Checks that vectors `[6]` of an action stand for a rotation.

    Args:
        name: of the quantity.
        rotation_6d: its values.

    Raises:
        ValueError: they stand for none; names the quantity.
    """
    *first, d, e, f = rotation_6d.tolist()
    length = math.hypot(*first)
    if length < LEAST_ROW or math.hypot(*_cross(first, (d, e, f))) < LEAST_ROW * length:
        raise ValueError(f"the action's {name} {rotation_6d} is no rotation: its two rows must not be zero or parallel")


def matrix_to_rotvec(matrix: np.ndarray) -> np.ndarray:
    """Axis times angle in radians, `[3]`, of one rotation matrix `[3, 3]`."""
    return np.array(_rotvec(matrix.tolist()))


# In plain floats from here on: for so few numbers each of numpy's calls takes longer than all of this.


def _orthonormal_rows(a: float, b: float, c: float, d: float, e: float, f: float) -> tuple[Sequence[float], ...]:
    """The rows of a rotation matrix, from two rows that need be neither of unit length nor at right angles."""
    x = _unit(a, b, c)
    along = x[0] * d + x[1] * e + x[2] * f
    y = _unit(d - along * x[0], e - along * x[1], f - along * x[2])
    return x, y, _cross(x, y)


def _unit(x: float, y: float, z: float) -> tuple[float, float, float]:
    length = max(math.sqrt(x * x + y * y + z * z), 1e-8)
    return x / length, y / length, z / length


def _cross(u: Sequence[float], v: Sequence[float]) -> tuple[float, float, float]:
    return u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]


def _rotvec(rows: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """Axis times angle in radians of the rotation matrix with these rows.

    Over the unit quaternion, from its largest component (Shepperd, "Quaternion from Rotation Matrix", 1978), so exact to
    rounding for every angle.
    """
    (a, b, c), (d, e, f), (g, h, i) = rows
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
        return 0.0, 0.0, 0.0
    scale = math.copysign(2 * math.atan2(sine, abs(w)) / sine, w)
    return scale * x, scale * y, scale * z


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
