"""The environments of a control loop."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import gymnasium
import numpy as np

from paradp.envs import Task, all_tasks, find_convention, find_task
from paradp.envs.actions import ActionConvention
from paradp.envs.conventions import described
from paradp.envs.task import Features, images
from paradp.policy import PolicySpec
from paradp.policy.spec import Interface
from paradp.policy.wording import other_task
from paradp.sampler.lookup import note_renamed

Observation = dict[str, np.ndarray]
# The result of gymnasium's `step`: observation, reward, terminated, truncated, info.
Outcome = tuple[Observation, Any, bool, bool, dict[str, Any]]
T = TypeVar("T")


class Environments:
    """Environments with indices 0, 1, …, which are reset and stepped individually.

    gymnasium's vector environments always step all environments, even if fewer episodes are left, and copy the observations
    into one array per key.

    If an environment renders images only on request (attribute `drawn` is false), they are rendered here, for the steps
    whose images are used. Each of these environments stays in one thread, to which its renderer belongs.

    Args:
        envs: the environments.
        threads: how many step in parallel, if their `step` releases Python's lock (attribute `releases_gil`). It does not
            affect results.
    """

    def __init__(self, envs: Sequence[gymnasium.Env], threads: int = 1):
        self.envs = list(envs)
        self._dtypes = [env.action_space.dtype for env in self.envs]
        self._asks = [not getattr(env.unwrapped, "drawn", True) for env in self.envs]
        free = all(getattr(env.unwrapped, "releases_gil", False) for env in self.envs)
        threads = min(threads, len(self.envs)) if free else 1
        self._bound = threads > 1 and any(self._asks)
        sizes = [1] * threads if self._bound else [threads] * (threads > 1)
        self._pools = [ThreadPoolExecutor(size) for size in sizes]

    @property
    def num_envs(self) -> int:
        """The number of environments."""
        return len(self.envs)

    def reset(self, seeds: Mapping[int, int]) -> dict[int, Observation]:
        """Starts episodes: index → seed. Returns index → first observation."""
        resets = {place: partial(self._reset, place, seed) for place, seed in seeds.items()}
        return self._each(resets) if self._bound else {place: reset() for place, reset in resets.items()}

    def step(self, actions: Mapping[int, np.ndarray], unseen: Collection[int] = ()) -> dict[int, Outcome]:
        """Makes one control step: index → action. Returns index → outcome.

        Args:
            actions: by index.
            unseen: environments whose images are not used after this step; those that render on request skip them.
        """
        return self._each({place: partial(self._step, place, action, place in unseen) for place, action in actions.items()})

    def _each(self, calls: Mapping[int, Callable[[], T]]) -> dict[int, T]:
        """Makes calls of several environments, each in its thread."""
        if not self._pools:
            return {place: call() for place, call in calls.items()}
        futures = {place: self._pools[place % len(self._pools)].submit(call) for place, call in calls.items()}
        try:
            return {place: future.result() for place, future in futures.items()}
        finally:
            wait(futures.values())  # after an error the caller may close environments, so none may still be stepping

    def close(self) -> None:
        closes = {place: env.close for place, env in enumerate(self.envs)}
        if self._bound:
            self._each(closes)
        for pool in self._pools:
            pool.shutdown()
        if not self._bound:
            for close in closes.values():
                close()

    def _reset(self, place: int, seed: int) -> Observation:
        return self._drawn(place, self.envs[place].reset(seed=seed)[0])

    def _step(self, place: int, action: np.ndarray, unseen: bool) -> Outcome:
        observation, reward, terminated, truncated, info = self.envs[place].step(action.astype(self._dtypes[place]))
        if not (unseen or terminated or truncated):
            observation = self._drawn(place, observation)
        return observation, reward, terminated, truncated, info

    def _drawn(self, place: int, observation: Observation) -> Observation:
        if not self._asks[place]:
            return observation
        return observation | self.envs[place].unwrapped.draw()  # type: ignore[attr-defined]


@dataclass(frozen=True)
class EnvironmentConfig:
    """The settings of an environment.

    Attributes:
        task: the task's name.
        action_convention: what actions mean, see `paradp.envs.actions`; the task's first by default.
        disturbance: what disturbs the task's object, see `paradp.envs.disturbances`; `None` for nothing.
        max_steps: length limit of an episode in control steps; the task's own by default.
        render: whether it can be filmed.
        observation: what is observed, one of the task's kinds; the first by default.
        drawn: whether every observation has its images; otherwise `Environments` renders only those that are used. Tasks
            that cannot render on request always render them.
    """

    task: str
    action_convention: str | None = None
    disturbance: str | None = None
    max_steps: int | None = None
    render: bool = False
    observation: str | None = None
    drawn: bool = True

    @property
    def convention(self) -> str:
        """The name of the action convention in use."""
        return self.action_convention or find_task(self.task).task.conventions[0]

    def make(self) -> gymnasium.Env:
        """Creates an environment.

        Raises:
            ValueError: the task, the observation or the disturbance is unknown.
            OSError: it observes images, and this machine cannot render them.
        """
        task = find_task(self.task).task
        features = task.observed(self.observation)
        # Environments of tasks in other packages may not have these settings.
        asked: dict[str, Any] = {} if features == task.observation else {"observation": self.observation}
        if not self.drawn and task.draws_when_asked and images(features):
            asked["drawn"] = False
        with _named(task):
            return gymnasium.make(
                task.env_id,
                max_episode_steps=self.max_steps,
                action_convention=self.convention,
                disturbance=self.disturbance,
                render_mode="rgb_array" if self.render else None,
                **asked,
            )


@contextmanager
def _named(task: Task) -> Iterator[None]:
    """Names the environment of another package whose class cannot be imported, or called as paradp does.

    Raises:
        ValueError: it cannot.
    """
    try:
        yield
    except (TypeError, ImportError, AttributeError, gymnasium.error.Error) as error:
        if not task.installed_elsewhere:
            raise
        raise ValueError(
            f"the environment {task.entry_point} of the task {task.name!r} cannot be made with task=, action_convention=,"
            f" disturbance= and render_mode=: {error}"
        ) from error


def has_succeeded(info: Mapping[str, Any]) -> bool:
    """Whether the task has succeeded, as a step's `info` says.

    Raises:
        ValueError: it does not say.
    """
    if "success" not in info:
        raise ValueError(
            "the environment's info has no 'success', which says after every step whether the task has succeeded"
        )
    return bool(info["success"])


def make_envs(environment: EnvironmentConfig, count: int, threads: int = 1) -> Environments:
    """Creates `count` environments in this process.

    Raises:
        ValueError: the task or the disturbance is unknown.
    """
    return Environments([environment.make() for _ in range(count)], threads)


def observed_by(spec: Interface, task: Task) -> str:
    """Finds the kind of the task's observations that a policy was trained on.

    Raises:
        ValueError: it is none of them; the message names the difference.
    """
    for kind, features in task.observations.items():
        if spec.observation == dict(features):  # in any order, because a policy takes each feature by its name
            return kind
    raise ValueError(f"the checkpoint does not fit the task {task.name!r}: {_other_observation(spec, task)}")


def _other_observation(spec: Interface, task: Task) -> str:
    """Describes how a policy's observation differs from all kinds of the task's."""
    offered = {key: shape for features in task.observations.values() for key, shape in features.items()}
    nearest = max(task.observations.values(), key=lambda features: _shared(spec.observation, features))
    whole = f"its observation is {spec.observation}, the task's is {nearest}"
    for key in images(spec.observation):
        if key not in offered:
            cameras = ", ".join(images(offered)) or "none"
            return f"its observation has the image {key!r}, and the task's images are: {cameras}; {whole}"
        if spec.observation[key] != offered[key]:
            return f"its {key!r} has shape {spec.observation[key]}, the task's {offered[key]}"
    return whole


def _shared(observation: Features, features: Features) -> tuple[int, int]:
    """The numbers of names and of shapes that two observations share."""
    return len(features.keys() & observation.keys()), len({*features.values()} & {*observation.values()})


def check_fits(spec: PolicySpec, task: str, native: bool = False) -> None:
    """Checks that a policy was trained for this version of a task.

    Args:
        spec: the policy's specification.
        task: the task's name.
        native: whether its checkpoint is one of paradp. Its facts are then right, and the message does not say how to change
            them.

    Raises:
        ValueError: task, observation, actions, control rate or controller differ; the message lists all differences.
        OSError: it observes images, and this machine cannot render them.
    """
    wanted = find_task(task).task
    own = native and spec.task != task and spec.task in all_tasks()
    if differences := [said if own else f"{said} ({option})" for said, option in _differences(spec, wanted)]:
        mend = "give facts about another program's checkpoint to `paradp convert`, as in brackets, or in paradp.yaml"
        if own:
            mend = other_task(spec.task, task)
        raise ValueError(f"the checkpoint does not fit the task {task!r}: {'; '.join(differences)}. {mend}")
    wanted.check_drawn(observed_by(spec, wanted))


def _differences(spec: PolicySpec, task: Task) -> Iterator[tuple[str, str]]:
    """Yields every difference between a policy and a task, and the option of `paradp convert` for this fact."""
    convention = _likely_convention(spec, task)
    if spec.task != task.name:
        yield f"its task is {spec.task}, not {task.name}", "--task"
    if spec.action_convention not in task.conventions:
        known = ", ".join(described(name, find_convention(name).parts) for name in task.conventions)
        actions = described(spec.action_convention, spec.action)
        yield f"its actions are {actions}, the task's: {known}", f"--action-convention {convention.name}"
    if list(spec.action.items()) != list(convention.parts.items()):  # also if only the order differs
        parts = ",".join(f"{name}:{size}" for name, size in convention.parts.items())
        yield f"its action is {spec.action}, the task's is {convention.parts}", f"--action {parts}"
    if spec.control_hz != task.control_hz:
        yield f"its control_hz is {spec.control_hz}, the task's is {task.control_hz}", f"--control-hz {task.control_hz}"
    if spec.controller != task.controller:
        gains = " ".join(f"{name}={value:g}" for name, value in task.controller.items())
        yield f"its controller is {spec.controller}, the task's is {task.controller}", f"--controller {gains}"
    if all(spec.observation != dict(features) for features in task.observations.values()):
        yield _other_observation(spec, task), "--observation"
    if not np.array_equal(np.array([spec.action_low, spec.action_high], np.float32), [convention.low, convention.high]):
        yield "its action limits differ from the environment's", "--action-low, --action-high"


def _likely_convention(spec: PolicySpec, task: Task) -> ActionConvention:
    """The policy's action convention, if the task has it; otherwise one for actions of the same length, or the first."""
    if spec.action_convention in task.conventions:
        return find_convention(spec.action_convention)
    conventions = [find_convention(name) for name in task.conventions]
    return next((one for one in conventions if sum(one.parts.values()) == spec.action_size), conventions[0])


def __getattr__(name: str) -> Any:
    """Accepts `Scenery`, the older name of `EnvironmentConfig`, with a note."""
    if name != "Scenery":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    note_renamed(f"{__name__}.{name}", EnvironmentConfig.__name__)
    return EnvironmentConfig
