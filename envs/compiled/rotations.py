"""The scalar functions of `paradp.envs.rotations`, compiled by numba for use in other compiled functions."""

from numba.extending import register_jitable

from paradp.envs import rotations

_known = register_jitable(error_model="numpy")
length, cross, unit = _known(rotations.length), _known(rotations.cross), _known(rotations.unit)
is_rotation, orthonormal_rows = _known(rotations.is_rotation), _known(rotations.orthonormal_rows)
rows_rotvec = _known(rotations.rows_rotvec)
rotvec_quaternion, quaternion_rows = _known(rotations.rotvec_quaternion), _known(rotations.quaternion_rows)
