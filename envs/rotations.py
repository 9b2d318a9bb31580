"""The rotation representations that observations and actions use, on plain numpy arrays."""

import math
from collections.abc import Sequence

import numpy as np

# Smallest length of the first row, and of the second one's component across it: below, rounding changes the rotation.
LEAST_ROW = 1e-4
Row = tuple[float, float, float]


def matrix_to_rotation_6d(matrix: np.ndarray) -> np.ndarray:
    """The first two rows of rotation matrices `[..., 3, 3]` as `[..., 6]`.

    The continuous representation of Zhou et al., "On the Continuity of Rotation Representations in Neural Networks"
    (CVPR 2019), with the row convention of pytorch3d and Diffusion Policy.
    """
    return matrix[..., :2, :].reshape(*matrix.shape[:-2], 6)


def rotation_6d_to_matrix(rotation_6d: np.ndarray) -> np.ndarray:
    """Rotation matrices `[..., 3, 3]` of any vectors `[..., 6]`, by Gram-Schmidt: a network's output is not exact."""
    rows = [orthonormal_rows(*values) for values in rotation_6d.reshape(-1, 6).tolist()]
    return np.array(rows, rotation_6d.dtype).reshape(*rotation_6d.shape[:-1], 3, 3)


def rotation_6d_to_rotvec(rotation_6d: np.ndarray) -> np.ndarray:
    """Axis times angle in radians, `[3]`, of any vector `[6]`."""
    return np.array(rows_rotvec(orthonormal_rows(*rotation_6d.tolist())))


def check_rotation_6d(name: str, rotation_6d: np.ndarray) -> None:
    """Checks that a vector `[6]` of an action represents a rotation.

    Args:
        name: name of the quantity.
        rotation_6d: its values.

    Raises:
        ValueError: it does not; the message names the quantity.
    """
    if not is_rotation(*rotation_6d.tolist()):
        raise ValueError(f"the action's {name} {rotation_6d} is not a rotation: its two rows must not be zero or parallel")


def matrix_to_rotvec(matrix: np.ndarray) -> np.ndarray:
    """Axis times angle in radians, `[3]`, of one rotation matrix `[3, 3]`."""
    return np.array(rows_rotvec(matrix.tolist()))


def rotvec_to_matrix(rotvec: np.ndarray) -> np.ndarray:
    """The rotation matrix `[3, 3]` of one axis times angle in radians, `[3]`."""
    return np.array(quaternion_rows(*rotvec_quaternion(*rotvec.tolist())))


def yaw_matrix(yaw: float) -> np.ndarray:
    """The rotation matrix `[3, 3]` about the vertical axis by `yaw` radians."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def wrap_angle(angle: float) -> float:
    """The same angle in [−π, π)."""
    return float((angle + np.pi) % (2 * np.pi) - np.pi)


# From here on with plain floats: for so few numbers a single call of numpy takes longer than a whole function. Compiled
# code calls these functions, too (`paradp.envs.compiled.rotations`).


def is_rotation(a: float, b: float, c: float, d: float, e: float, f: float) -> bool:
    """Whether two rows represent a rotation: neither is zero, and they are not parallel."""
    first = length(a, b, c)
    return first >= LEAST_ROW and length(*cross((a, b, c), (d, e, f))) >= LEAST_ROW * first


def orthonormal_rows(a: float, b: float, c: float, d: float, e: float, f: float) -> tuple[Row, Row, Row]:
    """The rows of a rotation matrix from two rows, which need not have unit length or be orthogonal."""
    x = unit(a, b, c)
    along = x[0] * d + x[1] * e + x[2] * f
    y = unit(d - along * x[0], e - along * x[1], f - along * x[2])
    return x, y, cross(x, y)


def unit(x: float, y: float, z: float) -> Row:
    """The vector of unit length in its direction."""
    size = max(length(x, y, z), 1e-8)
    return x / size, y / size, z / size


def length(x: float, y: float, z: float) -> float:
    """The length of a vector."""
    return math.sqrt(x * x + y * y + z * z)


def cross(u: Row, v: Row) -> Row:
    """The cross product of two vectors."""
    return u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]


def rows_rotvec(rows: Sequence[Sequence[float]]) -> Row:
    """Axis times angle in radians of the rotation matrix with these rows.

    Computed from the unit quaternion, starting with its largest component (Shepperd, "Quaternion from Rotation Matrix",
    1978), and therefore exact up to rounding for every angle.
    """
    (a, b, c), (d, e, f), (g, h, i) = rows
    # Four times the quaternion's products with each of its components.
    products = (
        (1 + a + e + i, h - f, c - g, d - b),
        (h - f, 1 + a - e - i, b + d, c + g),
        (c - g, b + d, 1 - a + e - i, f + h),
        (d - b, c + g, f + h, 1 - a - e + i),
    )
    w, x, y, z = products[0]
    for row in products:
        if max(row) > max(w, x, y, z):
            w, x, y, z = row
    sine = length(x, y, z)
    if sine == 0.0:
        return 0.0, 0.0, 0.0
    scale = math.copysign(2 * math.atan2(sine, abs(w)) / sine, w)
    return scale * x, scale * y, scale * z


def rotvec_quaternion(x: float, y: float, z: float) -> tuple[float, float, float, float]:
    """The unit quaternion x, y, z, w of an axis times an angle in radians."""
    angle = length(x, y, z)
    scale = math.sin(angle / 2) / angle if angle > 0 else 0.5
    return scale * x, scale * y, scale * z, math.cos(angle / 2)


def quaternion_rows(x: float, y: float, z: float, w: float) -> tuple[Row, Row, Row]:
    """The three rows of the rotation matrix of a unit quaternion."""
    return (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
