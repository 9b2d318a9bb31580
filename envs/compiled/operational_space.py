"""One control step of robosuite's operational-space controller with all of its substeps, compiled.

The controller is robosuite 1.5's `OperationalSpaceController` of fixed impedance (after Khatib, "A unified approach for
motion and force control of robot manipulators", 1987), for arms on bases that never move, each on its own:

    τ = Jᵀ Λ (Kp e − Kd J q̇) + Nᵀ M (k (q₀ − q) − 2 √k q̇) + bias,    Λ = (J M⁻¹ Jᵀ)⁻¹,    N = 1 − M⁻¹ Jᵀ Λ J

with separate Λ for position and rotation if the two are uncoupled. robosuite forms inverses; here factors of
M and of J M⁻¹ Jᵀ are enough, because Nᵀ M a = M a − Jᵀ Λ J a.
"""

from typing import NamedTuple

import numpy as np
from robosuite.utils.transform_utils import quat2mat

from paradp.envs.compiled.compiling import compiled, unlocked
from paradp.envs.compiled.linear_algebra import cholesky, forward, solve
from paradp.envs.compiled.mujoco_functions import mj_fullM, mj_jacSite, mj_step1, mj_step2
from paradp.envs.compiled.rotations import quaternion_rows, rotvec_quaternion

# Stiffness of the torques that pull the arm back to its first pose (robosuite's `nullspace_torques`).
NULLSPACE_KP = 10.0


class Simulation(NamedTuple):
    """The addresses of MuJoCo's model and data, and the arrays of the data that are read and written."""

    model: int
    data: int
    qpos: np.ndarray
    qvel: np.ndarray
    mass: np.ndarray
    bias: np.ndarray
    ctrl: np.ndarray
    site_xpos: np.ndarray
    site_xmat: np.ndarray


class Arm(NamedTuple):
    """An arm of n joints and its controller.

    A `relative` action is clipped to `input_low` and `input_high`, scaled, and added to the current pose as a translation
    and a rotation in the world frame. Another action is a pose in the world frame, used as it is.

    Attributes:
        joints: indices of the joints in `qpos`, `[n]`.
        dofs: indices in `qvel`, `[n]`.
        actuators: indices in `ctrl`, `[n]`.
        low: smallest torques, `[n]` (Nm).
        high: largest torques, `[n]` (Nm).
        rest: the joint positions that the null-space torques pull to, `[n]` (rad).
        kp: stiffness, of position and rotation, `[6]`.
        kd: damping, `[6]`.
        uncoupled: whether position and rotation have separate inertia matrices.
        site: index of the site that is controlled.
        relative: whether goals are relative to the current pose.
        input_low: smallest action, `[6]`.
        input_high: largest action, `[6]`.
        scale: scale of actions, `[6]`.
        input_centre: action that is mapped to `output_centre`, `[6]`.
        output_centre: `[6]` (m and rad).
    """

    joints: np.ndarray
    dofs: np.ndarray
    actuators: np.ndarray
    low: np.ndarray
    high: np.ndarray
    rest: np.ndarray
    kp: np.ndarray
    kd: np.ndarray
    uncoupled: bool
    site: int
    relative: bool
    input_low: np.ndarray
    input_high: np.ndarray
    scale: np.ndarray
    input_centre: np.ndarray
    output_centre: np.ndarray


class Gripper(NamedTuple):
    """Panda's gripper: two fingers, driven to positions at a constant speed.

    Attributes:
        actuators: indices in `ctrl`, `[2]`.
        command: commanded positions of the fingers, `[2]`, from −1 to 1; robosuite's own array.
        speed: change of `command` in a control step.
        low: smallest controls, `[2]`.
        high: largest controls, `[2]`.
    """

    actuators: np.ndarray
    command: np.ndarray
    speed: float
    low: np.ndarray
    high: np.ndarray


@unlocked
def control_step(
    sim: Simulation, arms: tuple[Arm, ...], grippers: tuple[Gripper, ...], substeps: int, action: np.ndarray
) -> None:
    """Advances the simulation by a control step.

    Args:
        sim: the simulation at the start of the step.
        arms: the arms and their controllers.
        grippers: the gripper of each.
        substeps: number of steps of the simulator.
        action: in robosuite's form, `[7]` for each arm: position or translation, axis-angle, gripper.
    """
    positions, rotations = np.empty((len(arms), 3)), np.empty((len(arms), 3, 3))
    for i in range(len(arms)):
        _drive(sim, grippers[i], action[7 * i + 6])
    mj_step1(sim.model, sim.data)
    for i in range(len(arms)):
        positions[i], rotations[i] = _goal(sim, arms[i], action[7 * i : 7 * i + 6])
    _actuate(sim, arms, positions, rotations)
    mj_step2(sim.model, sim.data)
    follow(sim, arms, substeps - 1, positions, rotations)


@unlocked
def follow(sim: Simulation, arms: tuple[Arm, ...], substeps: int, positions: np.ndarray, rotations: np.ndarray) -> None:
    """Advances the simulation with goals in the world frame: positions `[n, 3]` (m) and rotations `[n, 3, 3]`."""
    for _ in range(substeps):
        mj_step1(sim.model, sim.data)
        _actuate(sim, arms, positions, rotations)
        mj_step2(sim.model, sim.data)


@unlocked
def mujoco_steps(model: int, data: int, steps: int) -> None:
    """Advances a simulation without any controller: the upper bound of a control step's speed."""
    for _ in range(steps):
        mj_step1(model, data)
        mj_step2(model, data)


@compiled
def _drive(sim, gripper, grip):
    """Sets the controls of the fingers, which move against each other: they close where `grip` is above 0."""
    for i in range(2):
        towards = (2 * i - 1) * gripper.speed * np.sign(grip)
        gripper.command[i] = min(max(gripper.command[i] + towards, -1.0), 1.0)
        centre, half = 0.5 * (gripper.high[i] + gripper.low[i]), 0.5 * (gripper.high[i] - gripper.low[i])
        sim.ctrl[gripper.actuators[i]] = min(max(centre + half * gripper.command[i], gripper.low[i]), gripper.high[i])


@compiled
def _goal(sim, arm, action):
    """Returns an action's goal at the current pose: position `[3]` and rotation `[3, 3]` in the world frame."""
    if not arm.relative:
        return action[:3].copy(), np.array(quaternion_rows(*rotvec_quaternion(action[3], action[4], action[5])))
    step = np.empty(6)
    for i in range(6):
        clipped = min(max(action[i], arm.input_low[i]), arm.input_high[i])
        step[i] = (clipped - arm.input_centre[i]) * arm.scale[i] + arm.output_centre[i]
    # As in robosuite, whose conversion has single precision.
    turn = quat2mat(np.array(rotvec_quaternion(step[3], step[4], step[5])))
    return sim.site_xpos[arm.site] + step[:3], np.dot(turn, sim.site_xmat[arm.site].copy().reshape(3, 3))


@compiled
def _actuate(sim, arms, positions, rotations):
    """Sets the controls of the arms."""
    nv = len(sim.qvel)
    full = np.empty((nv, nv))
    mj_fullM(sim.model, full.ctypes.data, sim.mass.ctypes.data)
    for i in range(len(arms)):
        _actuate_arm(sim, arms[i], full, positions[i], rotations[i])


@compiled
def _actuate_arm(sim, arm, full, goal_pos, goal_rot):
    """Sets the controls of an arm, given the mass matrix `[nv, nv]` of the whole scene."""
    mass, jacobian = _dynamics(sim, arm, full)
    torques = _torques(sim, arm, mass, jacobian, goal_pos, goal_rot)
    for i in range(len(torques)):
        sim.ctrl[arm.actuators[i]] = min(max(torques[i], arm.low[i]), arm.high[i])


@compiled
def _dynamics(sim, arm, full):
    """Computes the mass matrix `[n, n]` of the arm, and the Jacobian `[6, n]` of its site."""
    n, nv = len(arm.dofs), len(sim.qvel)
    jac_pos, jac_rot = np.empty((3, nv)), np.empty((3, nv))
    mj_jacSite(sim.model, sim.data, jac_pos.ctypes.data, jac_rot.ctypes.data, np.int32(arm.site))
    mass, jacobian = np.empty((n, n)), np.empty((6, n))
    for i in range(n):
        for k in range(3):
            jacobian[k, i], jacobian[3 + k, i] = jac_pos[k, arm.dofs[i]], jac_rot[k, arm.dofs[i]]
        for j in range(n):
            mass[i, j] = full[arm.dofs[i], arm.dofs[j]]
    return mass, jacobian


@compiled
def _torques(sim, arm, mass, jacobian, goal_pos, goal_rot):
    """Computes the torques of the arm's joints, `[n]` (Nm), before they are limited."""
    n = len(mass)
    velocities = np.empty(n)
    # The acceleration that pulls the arm to its rest pose.
    restoring = np.empty(n)
    for i in range(n):
        velocities[i] = sim.qvel[arm.dofs[i]]
        stretch = arm.rest[i] - sim.qpos[arm.joints[i]]
        restoring[i] = NULLSPACE_KP * stretch - 2 * np.sqrt(NULLSPACE_KP) * velocities[i]
    inertia_inverse = _task_inertia_inverse(mass, jacobian)
    wrench = _desired(sim, arm, np.dot(jacobian, velocities), goal_pos, goal_rot)
    room = np.empty((6, 6))
    if arm.uncoupled:
        solve(inertia_inverse[:3, :3].copy(), wrench[:3], room)
        solve(inertia_inverse[3:, 3:].copy(), wrench[3:], room)
    else:
        solve(inertia_inverse, wrench, room)
    held = np.dot(jacobian, restoring)
    solve(inertia_inverse, held, room)
    torques = np.dot(jacobian.T, wrench - held) + np.dot(mass, restoring)
    for i in range(n):
        torques[i] += sim.bias[arm.dofs[i]]
    return torques


@compiled
def _task_inertia_inverse(mass, jacobian):
    """Computes J M⁻¹ Jᵀ, `[6, 6]`."""
    factor, whitened = np.empty_like(mass), jacobian.copy()
    cholesky(mass, factor)
    for row in whitened:
        forward(factor, row)
    return np.dot(whitened, whitened.T)


@compiled
def _desired(sim, arm, velocity, goal_pos, goal_rot):
    """Computes the desired acceleration of the site, of position and rotation, `[6]`."""
    wanted, present = np.empty(6), sim.site_xmat[arm.site]
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        turn = 0.0
        for axis in range(3):
            turn += present[3 * j + axis] * goal_rot[k, axis] - present[3 * k + axis] * goal_rot[j, axis]
        wanted[i] = arm.kp[i] * (goal_pos[i] - sim.site_xpos[arm.site, i]) - arm.kd[i] * velocity[i]
        wanted[3 + i] = arm.kp[3 + i] * 0.5 * turn - arm.kd[3 + i] * velocity[3 + i]
    return wanted
