"""Robosuite tasks as gymnasium environments: seeded, correct from the first observation, of states or of images."""

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.error import ClosedEnvironmentError

from paradp.envs import simulators
from paradp.envs.actions import check_action
from paradp.envs.conventions import find_robot_convention
from paradp.envs.disturbances import LooseObject, find_disturbance
from paradp.envs.observing import space_of
from paradp.envs.rendering import Frames
from paradp.envs.robosuite_cameras import Cameras
from paradp.envs.robosuite_hands import find_hands
from paradp.envs.robosuite_import import make_robosuite
from paradp.envs.robosuite_task import RobosuiteTask
from paradp.envs.task import STATE, Features, images

# Bound of an observation: all positions in the scene (m) and entries of rotations are smaller.
FARTHEST = 10.0


class RobosuiteEnv(gymnasium.Env[dict[str, np.ndarray], np.ndarray]):
    """One or several Panda robots in a robosuite task.

    Observations are a dict of float32 vectors read from the simulator: each grip site's position (m), rotation_6d and
    finger positions (m), and every object's pose in the world and in the frame of each grip site. The grip site, not
    the hand's body, is what the controller moves; rotation_6d has no arbitrary sign as a quaternion has. With
    `observation="image"` they are the task's camera images instead, and the robots' own state under robosuite's names.

    The reward is robosuite's sparse one (1 at success). The episode terminates at success; then `info["success"]` is true.
    `reset(seed=…)` makes the episode reproducible bit by bit, independent of earlier simulations.

    Compiled code computes the control steps, if it supports the robot and its controller, see `paradp.envs.simulators`.

    A disturbance does not change the initial scene. `info["disturbed"]` is true after it has acted in this episode.

    Args:
        task: the task's definition.
        action_convention: one of the task's, see `paradp.envs.actions`; by default its first.
        render_mode: `None` or `"rgb_array"`.
        render_size: height and width of a frame in pixels.
        disturbance: `None`, `"push"` or `"belt"`, see `paradp.envs.disturbances`.
        simulator: `"compiled"` or `"robosuite"`; by default the value of `PARADP_SIMULATOR`, or else `"compiled"`.
        observation: `"state"` or `"image"`, see `RobosuiteTask`.
        drawn: whether observations contain their images; otherwise only `draw` renders them.

    Attributes:
        simulator: the simulator in use.
        releases_gil: whether steps of several environments may overlap in threads.

    Raises:
        ValueError: the action convention, render mode, disturbance or simulator is unknown, the convention is for other
            hands, the task's first object cannot be disturbed, or an action is not finite or has an invalid rotation (two
            rows that are zero or parallel).
        ClosedEnvironmentError: the environment is used after `close`.
        OSError: the observation has images, and this machine cannot render them; the message gives the reason.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"]}
    # Set by `_bind`, and removed when the simulation is freed.
    _sim: Any = None
    _simulator: Any = None
    _grip_position: Any = None
    _look: Any = None
    _disturbed: Any = None
    _cameras: Any = None
    _film: Frames | None = None

    def __init__(
        self,
        task: RobosuiteTask,
        action_convention: str | None = None,
        render_mode: str | None = None,
        render_size: tuple[int, int] = (512, 512),
        disturbance: str | None = None,
        simulator: str | None = None,
        observation: str = STATE,
        drawn: bool = True,
    ):
        from paradp.envs.compiled.commands import bind_command  # imports simulator and compiler

        action_convention = action_convention or task.conventions[0]
        task.check_modes(action_convention, render_mode)
        self._disturbance = None if disturbance is None else find_disturbance(disturbance)()
        self.task = task
        self.convention = find_robot_convention(action_convention, task.hands)
        self.render_mode = render_mode
        self.metadata = {**type(self).metadata, "render_fps": task.control_hz}  # type: ignore[misc]
        self.action_space = self.convention.space
        self.drawn = drawn
        self._features = task.observed(observation)
        self.observation_space = space_of(self._features, FARTHEST, drawn)
        task.check_drawn(observation)
        self._robosuite = make_robosuite(task, self.convention.controller_options())
        # Lift chooses the size of its cube randomly at construction, so all instances are constructed with one seed.
        self._seed(None)
        self.simulator = simulators.choose(self._robosuite, simulator)
        self.releases_gil = self.simulator == simulators.COMPILED
        self._slices = _slices(task.observation)
        self._action_shape = self.action_space.shape
        self._to_command = bind_command(self.convention)
        self._disturbance_rng = np.random.default_rng()
        self._render_size = render_size
        self._bind()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        self._check_open()
        super().reset(seed=seed)
        if seed is not None:
            self._seed(seed)
        self._robosuite.reset()
        self._bind()
        # Poses are read from the simulator: robosuite's observables are slow and partly zero after a reset.
        for observable in self._robosuite._observables.values():
            observable.set_enabled(False)
        if self._disturbance is not None:
            if seed is not None:
                # A separate random stream, so that it does not change the scene; stream 1 belongs to the experts.
                self._disturbance_rng = np.random.default_rng([seed, 2])
            self._disturbance.reset(self._disturbance_rng)
        return self._observe(), self._info(False)

    def step(self, action: np.ndarray):
        self._check_open()
        command = self._command(action)
        if self._disturbance is not None:
            self._disturbance.apply(self._disturbed, self._grip_position)
        self.simulate(command)
        success = self._simulator.succeeds()
        return self._observe(), float(success), success, False, self._info(success)

    def simulate(self, command: np.ndarray) -> None:
        """Makes one control step of the simulator only, without observation and reward.

        Args:
            command: robosuite's own action, `[7]` for each arm, double precision, contiguous.
        """
        self._simulator.step(command)

    def see(self, state: np.ndarray) -> tuple[dict[str, np.ndarray], bool]:
        """Returns the observation in a recorded state of the simulator, and whether the task's success rule holds there.

        Further objects of the recorded scene, such as a second nut, stay at their place in this task's scene, out of reach.

        Args:
            state: `[1 + nq + nv]`: time, positions, velocities, as robosuite flattens them.

        Raises:
            ValueError: it has another length.
        """
        self._check_open()
        size = 1 + self._sim.model.nq + self._sim.model.nv
        if state.shape != (size,):
            raise ValueError(f"a state of the task {self.task.name!r} has {size} values, not {state.shape}")
        others = self._entries_of_others()
        state = state.copy()
        state[others] = self._sim.get_state().flatten()[others]
        self._sim.set_state_from_flattened(state)
        self._sim.forward()
        return self._observe(), self._simulator.succeeds()

    def observe(self, kind: str) -> dict[str, np.ndarray]:
        """Returns the current observation of one kind, including images.

        Raises:
            ValueError: there is no such kind.
        """
        self._check_open()
        features = self.task.observed(kind)
        return self._see(features) | self._cameras.draw(features)

    def draw(self) -> dict[str, np.ndarray]:
        """Renders the images of an observation of the current state."""
        self._check_open()
        return self._cameras.draw(self._features)

    @property
    def arm_origin(self) -> tuple[np.ndarray, np.ndarray]:
        """Pose of the base of the first arm: position `[3]` (m) and rotation `[3, 3]` in the world."""
        return self._robosuite.robots[0].composite_controller.get_controller_base_pose("right")

    def render(self) -> np.ndarray:
        """An RGB frame `[height, width, 3]` of the task's camera.

        Raises:
            OSError: frames cannot be drawn here; the message says why (`paradp.envs.rendering`).
        """
        self._check_open()
        if self._film is None:
            self._film = Frames(self._sim.model._model, *self._render_size)
        return self._film.draw(self._sim.data._data, self.task.camera)

    def close(self) -> None:
        """Frees the renderer and the simulator, for which MuJoCo reserves over a gigabyte of address space."""
        try:
            self._free_renderers()
        finally:
            self._robosuite.close()
            # These refer to the memory that was just freed.
            self._sim = self._simulator = self._look = self._grip_position = self._disturbed = self._cameras = None

    def _command(self, action: np.ndarray) -> np.ndarray:
        """Converts the action to robosuite's form; raises an error for an invalid one, before anything moves."""
        values = np.array(action, np.float64, order="C")
        command = self._to_command(values) if values.shape == self._action_shape else None
        if command is None:
            check_action(self.convention, np.asarray(action))
            # Conventions of other packages are not compiled; the simulator takes this form only.
            return np.ascontiguousarray(self.convention.to_robosuite(np.asarray(action)), np.float64)
        return command

    def _check_open(self) -> None:
        if self._sim is None:
            raise ClosedEnvironmentError("the environment is closed")

    def _seed(self, seed: int | None) -> None:
        # Placement samplers and robots hold a reference to this generator, so its state is set, not replaced.
        self._robosuite.rng.bit_generator.state = np.random.default_rng(seed).bit_generator.state

    def _bind(self) -> None:
        """Finds the hands and the objects in the simulation, which a hard reset creates again."""
        from paradp.envs.compiled.observation import bind_observation

        if self._sim is not self._robosuite.sim:
            self._free_renderers()
            self._cameras = Cameras(self.task, self._robosuite)
        self._sim = self._robosuite.sim
        model, data = self._sim.model, self._sim.data
        self._simulator = simulators.begin(self.simulator, self._robosuite, self.task.success)
        self._bodies = {name: model.body_name2id(body) for name, body in self.task.objects.items()}
        hands = find_hands(self._robosuite)
        self._grip_position = data.site_xpos[hands[0].site]
        self._look = bind_observation(data, hands, [*self._bodies.values()])
        if self._disturbance is not None:
            self._disturbed = self._first_object()

    def _first_object(self) -> LooseObject:
        if self.task.area is None or not self.task.disturbances or not self._bodies:
            raise ValueError(f"the task {self.task.name!r} has no object or no area for a disturbance, or several hands")
        body = next(iter(self._bodies.values()))
        return LooseObject(self._sim, body, self.task.area, 1 / self.task.control_hz)

    def _entries_of_others(self) -> np.ndarray:
        """Indices of the values in a flattened state that belong to freely moving bodies other than the task's objects."""
        model, entries = self._sim.model, []
        for joint in range(model.njnt):
            if model.jnt_type[joint] == 0 and model.jnt_bodyid[joint] not in self._bodies.values():  # mjJNT_FREE
                positions, velocities = 1 + model.jnt_qposadr[joint], 1 + model.nq + model.jnt_dofadr[joint]
                entries += [*range(positions, positions + 7), *range(velocities, velocities + 6)]
        return np.array(entries, int)

    def _info(self, success: bool) -> dict[str, Any]:
        disturbed = {} if self._disturbance is None else {"disturbed": self._disturbance.acted}
        return {"success": success, **disturbed}

    def _observe(self) -> dict[str, np.ndarray]:
        return self._see(self._features) | (self.draw() if self.drawn else {})

    def _see(self, features: Features) -> dict[str, np.ndarray]:
        """Returns the vectors among some features."""
        if images(features):
            return self._cameras.see()
        seen = self._look()
        return {key: seen[part] for key, part in self._slices.items()}

    def _free_renderers(self) -> None:
        for renderer in (self._film, self._cameras):
            if renderer is not None:
                renderer.close()
        self._film = None


def _slices(sizes: dict[str, int]) -> dict[str, slice]:
    """The slice of each key's values in the concatenated vector."""
    ends = np.cumsum([*sizes.values()]).tolist()
    return {key: slice(end - size, end) for (key, size), end in zip(sizes.items(), ends, strict=True)}
