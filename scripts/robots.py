"""The robot of `paradp drive`: a simulated one, or one of LeRobot."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from paradp.checkpoints.finding import is_theirs
from paradp.envs import find_convention, find_task
from paradp.scripts.places import check_simulator, checkpoint_of, disturbance_of, found

if TYPE_CHECKING:
    from paradp.policy.control.controller import Hold
    from paradp.policy.spec import PolicySpec
    from paradp.rollouts.realtime.reports import Robot


class Body(Protocol):
    """A robot that is started when the policy is ready to plan.

    Attributes:
        checkpoint: checkpoint of the policy.
        packages: names of the packages that it needs, for messages.
    """

    checkpoint: Path
    packages: str

    def prepare(self, spec: "PolicySpec") -> "Hold":
        """Checks that the policy fits; returns the function for holding the robot still. Nothing moves.

        Raises:
            ValueError, OSError: the policy does not fit, or the robot cannot be created.
        """
        ...

    def start(self) -> "Robot":
        """Starts the robot; it moves from its first command on.

        Raises:
            ValueError, OSError: the robot cannot be started.
        """
        ...


class Simulated:
    """A simulated robot."""

    packages = "PyTorch and the simulator"

    def __init__(self, task: str, checkpoint: str | None, disturbance: str | None, seed: int):
        find_task(task)
        self.checkpoint = checkpoint_of(task, checkpoint)
        self._task, self._disturbance, self._seed = task, disturbance_of(task, disturbance), seed
        check_simulator(task)

    def prepare(self, spec: "PolicySpec") -> "Hold":
        from paradp.rollouts.episodes.environments import EnvironmentConfig, check_fits, observed_by

        check_fits(spec, self._task, native=not is_theirs(self.checkpoint))
        observation = observed_by(spec, find_task(self._task).task)
        self._environment = EnvironmentConfig(self._task, spec.action_convention, self._disturbance, observation=observation)
        return find_convention(spec.action_convention).hold

    def start(self) -> "Robot":
        from paradp.rollouts.realtime.robot import SimulatedRobot

        return SimulatedRobot(self._environment, self._seed)


class ByLeRobot:
    """A robot of LeRobot."""

    packages = "PyTorch and LeRobot"

    def __init__(self, robot: str, checkpoint: str | None, seed: int):
        self._choice, self._seed = RobotChoice.parse(robot), seed
        if find_spec("lerobot") is None or find_spec("draccus") is None:
            raise ValueError("--robot needs LeRobot, which is not installed: pip install lerobot (from Python 3.12 on)")
        if checkpoint is None:
            raise ValueError("--robot needs the policy that drives it: --checkpoint")
        self.checkpoint = found(checkpoint)

    def prepare(self, spec: "PolicySpec") -> "Hold":
        from paradp.bridges.facts import facts_file, read_facts
        from paradp.rollouts.realtime.lerobot_devices import make_device
        from paradp.rollouts.realtime.lerobot_robot import LeRobotRobot
        from paradp.rollouts.realtime.wiring import Renamed

        facts = read_facts(self.checkpoint)
        renamed = Renamed(facts.observation or {}, facts.action)
        device = make_device(self._choice.kind, self._choice.settings)
        try:
            self._robot = LeRobotRobot(device, spec, renamed, self._seed)
        except ValueError as error:
            raise ValueError(f"{error}{_remedy(spec, facts_file(self.checkpoint))}") from error
        return self._robot.hold

    def start(self) -> "Robot":
        try:
            self._robot.connect()
        except BaseException:
            self._robot.close()
            raise
        return self._robot


def _remedy(spec: "PolicySpec", names: Path) -> str:
    """The remedy if the names of the policy's quantities are not LeRobot's and the file that assigns them is missing."""
    from paradp.rollouts.realtime.wiring import ACTION, OBSERVATION

    if names.exists() or (all(key.startswith(OBSERVATION) for key in spec.observation) and set(spec.action) == {ACTION}):
        return ""
    return f"; if {names.name} of the training's data set renames quantities, copy it to {names}"


@dataclass(frozen=True)
class RobotChoice:
    """A robot of LeRobot, as typed by the user.

    Attributes:
        kind: LeRobot's `--robot.type`.
        settings: its other fields.
    """

    kind: str
    settings: Mapping[str, Any]

    @classmethod
    def parse(cls, text: str) -> "RobotChoice":
        """Parses `TYPE`, `TYPE:key=value,key=value` or `TYPE:{key: value, key: {key: value}}`; values are YAML.

        Raises:
            ValueError: the text has another form.
        """
        import yaml

        kind, _, rest = text.partition(":")
        pairs = [pair.partition("=") for pair in rest.split(",")] if rest else []
        try:
            if rest.lstrip().startswith("{"):
                settings = yaml.safe_load(rest)
            else:
                settings = {key.strip(): yaml.safe_load(value) for key, equals, value in pairs}
        except (yaml.YAMLError, RecursionError) as error:
            raise ValueError(f"--robot {text}: its settings cannot be read: {' '.join(str(error).split())}") from error
        typed = rest.lstrip().startswith("{") or all(key.strip() and equals for key, equals, _ in pairs)
        if not (kind and typed and isinstance(settings, dict) and all(isinstance(key, str) for key in settings)):
            raise ValueError(f"--robot {text} should read TYPE, TYPE:key=value,… or TYPE:{{key: value, …}}")
        return cls(kind, settings)


def body_of(robot: str | None, task: str | None, checkpoint: str | None, disturbance: str | None, seed: int) -> Body:
    """Returns the robot chosen by the options of `paradp drive`.

    Raises:
        ValueError, OSError: the options name no robot, or one that does not exist.
    """
    if robot is None:
        if task is None:
            raise ValueError("name a task, whose robot is simulated, or a robot of LeRobot: --robot TYPE --checkpoint NAME")
        return Simulated(task, checkpoint, disturbance, seed)
    if task is not None:
        give = "" if checkpoint else ", and give the policy with --checkpoint"
        raise ValueError(f"a task stands for its simulated robot: leave out {task!r} with --robot{give}")
    if disturbance is not None:
        raise ValueError("--disturbance is for a simulated robot")
    return ByLeRobot(robot, checkpoint, seed)
