"""Replaces robosuite's control step by the compiled one, if that supports the robot and its controller."""

from collections.abc import Callable
from typing import Any, TypeAlias

import mujoco
import numpy as np
import robosuite
from robosuite.controllers.composite.composite_controller import CompositeController
from robosuite.controllers.parts.arm.osc import OperationalSpaceController
from robosuite.controllers.parts.gripper.simple_grip import SimpleGripController
from robosuite.environments.base import MujocoEnv
from robosuite.environments.robot_env import RobotEnv
from robosuite.models.grippers.panda_gripper import PandaGripper
from robosuite.robots.fixed_base_robot import FixedBaseRobot

from paradp.envs.compiled.compiling import bind
from paradp.envs.compiled.operational_space import Arm, Gripper, Simulation, control_step, follow

# Versions of robosuite from whose source the compiled step was written, and with which it is tested to be equal.
ROBOSUITE = ("1.5.2",)
# First supported version, and first unsupported one: the layout of MuJoCo's mass matrix changes in 3.10.
MUJOCO = ((3, 3), (3, 10))
Arms: TypeAlias = tuple[Arm, ...]
Grippers: TypeAlias = tuple[Gripper, ...]


class CompiledStep:
    """robosuite's `step` without its reward and its observations. Make a new one after every reset.

    Args:
        env: robosuite's environment after a reset, for which `find_problem` returns `None`.
    """

    def __init__(self, env: Any):
        self._env = env
        self._substeps = int(env.control_timestep / env.model_timestep)
        self._step: Callable[[np.ndarray], object] | None = None

    def __call__(self, action: np.ndarray) -> None:
        """One control step.

        Args:
            action: in robosuite's form, `[7]` for each arm: position or translation, axis-angle, gripper; double precision,
                contiguous, because it is not converted.
        """
        if self._step is None:
            self._begin(action)
        else:
            self._step(action)
        self._env.timestep += 1
        self._env.cur_time += self._env.control_timestep

    def _begin(self, action: np.ndarray) -> None:
        """Makes the first control step after a reset.

        robosuite itself computes its first substep: there its controllers still use the state from their construction,
        before the fingers and the objects were placed.
        """
        env = self._env
        env.sim.step1()
        env._pre_action(action, True)
        env.sim.step2()
        simulation, arms, grippers = _parts(env)
        controllers = [robot.part_controllers["right"] for robot in env.robots]
        positions = np.array([controller.goal_pos for controller in controllers], np.float64)
        rotations = np.array([controller.goal_ori for controller in controllers], np.float64)
        _bind_follow(simulation, arms, self._substeps - 1)(positions, rotations)
        self._step = _bind_step(simulation, arms, grippers, self._substeps)


def find_problem(env: Any) -> str | None:
    """The reason why an environment needs robosuite's own step, as a sentence; `None` if the compiled one supports it."""
    if robosuite.__version__ not in ROBOSUITE:
        return f"it supports robosuite {' and '.join(ROBOSUITE)}, not {robosuite.__version__}"
    if not MUJOCO[0] <= _release(mujoco.__version__) < MUJOCO[1]:
        known = " to below ".join(".".join(map(str, release)) for release in MUJOCO)
        return f"it supports MuJoCo {known}, not {mujoco.__version__}"
    if type(env).step is not MujocoEnv.step or type(env)._pre_action is not RobotEnv._pre_action or not env.lite_physics:
        return f"{type(env).__name__} makes its control steps differently"
    return next(filter(None, (_robot_problem(env.sim.model, robot) for robot in env.robots)), None)


def _robot_problem(model: Any, robot: Any) -> str | None:
    if type(robot) is not FixedBaseRobot or type(robot.composite_controller) is not CompositeController:
        return "it supports robots on a fixed base with robosuite's basic controller"
    if set(robot.part_controllers) != {"right", "right_gripper"} or type(robot.gripper["right"]) is not PandaGripper:
        return f"it supports an arm with Panda's gripper, not the parts {', '.join(robot.part_controllers)}"
    return _arm_problem(model, robot.part_controllers["right"]) or _gripper_problem(robot.part_controllers["right_gripper"])


def _arm_problem(model: Any, controller: Any) -> str | None:
    if type(controller) is not OperationalSpaceController or not controller.use_ori:
        return f"it supports the controller OSC_POSE, not {controller.name}"
    if controller.impedance_mode != "fixed":
        return f"it supports the impedance mode fixed, not {controller.impedance_mode}"
    if controller.interpolator_pos is not None or controller.interpolator_ori is not None:
        return "it does not interpolate goals"
    if controller.position_limits is not None or controller.orientation_limits is not None:
        return "it does not limit goals"
    frame = controller.input_type, controller.input_ref_frame
    if frame not in (("absolute", "world"), ("delta", "world")) or controller._goal_update_mode != "achieved":
        return f"it supports absolute goals and deltas in the world, not {' in the '.join(frame)}"
    if not controller.lite_physics or any(
        model.jnt_type[joint] != mujoco.mjtJoint.mjJNT_HINGE for joint in controller.joint_index
    ):
        return "it supports an arm of hinge joints"
    base = model.site_name2id(f"{controller.naming_prefix}{controller.part_name}_center")
    if model.body_weldid[model.site_bodyid[base]] != 0:
        return "the robot's base moves"
    return None


def _gripper_problem(controller: Any) -> str | None:
    ranges = (controller.input_min, controller.input_max, controller.output_min, controller.output_max)
    plain = all(np.array_equal(values, np.full(2, bound)) for values, bound in zip(ranges, (-1, 1, -1, 1), strict=True))
    if type(controller) is not SimpleGripController or controller.interpolator is not None or not plain:
        return "it supports a gripper that is driven by robosuite's GRIP controller"
    return None if controller.use_action_scaling else "it supports a gripper whose actions are scaled"


def prepare(env: Any) -> None:
    """Compiles the control step, or reads it from the cache, so that no episode's time includes it."""
    simulation, arms, grippers = _parts(env)
    _bind_step(simulation, arms, grippers, 1)
    _bind_follow(simulation, arms, 1)


def _bind_step(simulation: Simulation, arms: Arms, grippers: Grippers, substeps: int) -> Callable[[np.ndarray], object]:
    return bind(control_step, simulation, arms, grippers, substeps, then=(np.empty(7),))


def _bind_follow(simulation: Simulation, arms: Arms, substeps: int) -> Callable[[np.ndarray, np.ndarray], object]:
    return bind(follow, simulation, arms, substeps, then=(np.empty((1, 3)), np.empty((1, 3, 3))))


def _parts(env: Any) -> tuple[Simulation, Arms, Grippers]:
    arms = tuple(_arm(env.sim, robot) for robot in env.robots)
    return _simulation(env.sim), arms, tuple(map(_gripper, env.robots))


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


def _simulation(sim: Any) -> Simulation:
    model, data = sim.model._model, sim.data._data
    return Simulation(
        model=model._address,
        data=data._address,
        qpos=data.qpos,
        qvel=data.qvel,
        mass=data.qM,
        bias=data.qfrc_bias,
        ctrl=data.ctrl,
        site_xpos=data.site_xpos,
        site_xmat=data.site_xmat,
    )


def _arm(sim: Any, robot: Any) -> Arm:
    controller = robot.part_controllers["right"]
    actuators = np.array(robot._ref_actuators_indexes_dict["right"], np.int64)
    return Arm(
        joints=np.array(controller.qpos_index, np.int64),
        dofs=np.array(controller.qvel_index, np.int64),
        actuators=actuators,
        low=np.ascontiguousarray(sim.model.actuator_ctrlrange[actuators, 0]),
        high=np.ascontiguousarray(sim.model.actuator_ctrlrange[actuators, 1]),
        rest=np.array(controller.initial_joint, np.float64),
        kp=np.array(controller.kp, np.float64),
        kd=np.array(controller.kd, np.float64),
        uncoupled=bool(controller.uncoupling),
        site=int(sim.model.site_name2id(controller.ref_name)),
        relative=controller.input_type == "delta",
        input_low=np.array(controller.input_min, np.float64),
        input_high=np.array(controller.input_max, np.float64),
        scale=np.array(
            abs(controller.output_max - controller.output_min) / abs(controller.input_max - controller.input_min)
        ),
        input_centre=(controller.input_max + controller.input_min) / 2.0,
        output_centre=(controller.output_max + controller.output_min) / 2.0,
    )


def _gripper(robot: Any) -> Gripper:
    gripper, controller = robot.gripper["right"], robot.part_controllers["right_gripper"]
    return Gripper(
        actuators=np.array(robot._ref_actuators_indexes_dict["right_gripper"], np.int64),
        command=gripper.current_action,
        speed=float(gripper.speed),
        low=np.array(controller.actuator_min, np.float64),
        high=np.array(controller.actuator_max, np.float64),
    )
