"""Collects demonstrations: the expert runs in the simulator on all cores, and successful episodes are kept."""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import gymnasium
import numpy as np

from paradp.envs import ActionNoise, Expert, find_convention, find_task
from paradp.envs.lookup import find
from paradp.policy.data.demonstrations import Demonstrations
from paradp.policy.data.episode import DemonstrationEpisode, DemonstrationInfo
from paradp.policy.features import Feature, observed_features
from paradp.policy.observations import Observation, read_features, stack
from paradp.policy.processes import spare_garbage_collection
from paradp.policy.values import numbers
from paradp.policy.wording import counted
from paradp.rollouts.episodes.environments import EnvironmentConfig, has_succeeded
from paradp.rollouts.machine import cores
from paradp.rollouts.workers import Workers, check_workers, died
from paradp.sampler.lookup import renamed_arguments
from paradp.sampler.streams import check_episode_seeds

# Largest number of attempts, so that an expert that never succeeds does not run forever.
MOST_TRIES = 1_000_000
# Small noise in most steps; an occasional push demonstrates recovery from further away.
DEFAULT_ACTION_NOISE = ActionNoise(noise=0.1, push_chance=0.01)


# Long: most of it is documentation.
@renamed_arguments(disturbance="action_noise")
def collect(
    task: str,
    episodes: int,
    out: Path,
    action_convention: str | None = None,
    action_noise: ActionNoise = DEFAULT_ACTION_NOISE,
    seed: int = 1_000_000,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] = lambda kept, tried: None,
    observation: str | None = None,
) -> Demonstrations:
    """Appends successful episodes to `out` until it contains `episodes` of them, and returns it.

    Seeds count up from `seed` and episodes are stored in this order. The result therefore does not depend on the number of
    workers, and an interrupted collection continues where it stopped.

    The expert always acts on the task's first kind of observation, so the episodes do not depend on the kind that is stored.

    Actions are of `action_convention`, by default the task's first.

    Raises:
        ValueError: the task or its observation is unknown, episodes or workers are less than 1, `out` contains
            demonstrations with other settings, another process writes there, or the expert failed in nearly all of
            `MOST_TRIES` attempts; what was collected is kept.
        ChildProcessError: a worker died; what was collected is kept.
        OSError: images are to be stored, and this machine cannot render them.
    """
    if not episodes >= 1:  # also refuses NaN
        raise ValueError(f"episodes must be at least 1, not {episodes}")
    check_episode_seeds(seed, MOST_TRIES)
    workers = cores() if workers is None else workers
    check_workers(workers)
    described = find_task(task).task
    described.check_drawn(observation)
    action_convention = action_convention or described.conventions[0]
    description = describe(task, action_convention, action_noise, seed, observation)
    demonstrations = Demonstrations.open_or_create(out, description)
    with closing(demonstrations):
        if len(demonstrations) >= episodes:
            return demonstrations
        on_progress(len(demonstrations), 0)
        first = int(demonstrations.seeds[-1]) + 1 if len(demonstrations) else seed
        environment = EnvironmentConfig(task, action_convention, observation=observation)
        with closing(_episodes_in_order(environment, action_noise, first, workers)) as tries:
            for tried, episode in enumerate(tries, start=1):
                if episode is not None:
                    demonstrations.append(episode)
                on_progress(len(demonstrations), tried)
                if len(demonstrations) >= episodes:
                    return demonstrations
        raise ValueError(
            f"{out} has {counted(len(demonstrations), 'episode')} of {episodes}: the expert failed too often in"
            f" {counted(MOST_TRIES, 'attempt')}"
        )


def _episodes_in_order(
    environment: EnvironmentConfig, action_noise: ActionNoise, first_seed: int, workers: int
) -> Generator[DemonstrationEpisode | None, None, None]:
    """Yields each attempt's episode in the order of the seeds, `None` for a failure; at most `MOST_TRIES`."""
    seeds = iter(range(first_seed, first_seed + MOST_TRIES))
    pending: deque[Future[DemonstrationEpisode | None]] = deque()
    with Workers(workers, spare_garbage_collection) as pool:
        while True:
            try:
                for seed in islice(seeds, 4 * workers - len(pending)):
                    pending.append(pool.submit(_demonstrate, environment, action_noise, seed))
                if not pending:
                    return
                yield pending.popleft().result()
            except BrokenProcessPool:
                raise died("what was collected") from None


def _demonstrate(environment: EnvironmentConfig, action_noise: ActionNoise, seed: int) -> DemonstrationEpisode | None:
    """Runs one episode of the expert; `None` if it fails."""
    env, expert = _made(environment, action_noise)
    features = observed_features(find_task(environment.task).task.observed(environment.observation))
    attempt = demonstrate(env, expert, features, seed, seed)
    return attempt.episode if attempt.success else None


@cache
def _made(environment: EnvironmentConfig, action_noise: ActionNoise) -> tuple[gymnasium.Env, Expert]:
    """The worker's environment and expert. An error here reaches the parent; one while a worker starts would not."""
    return environment.make(), find_task(environment.task).demonstrator(environment.convention, action_noise)


@dataclass(frozen=True)
class Attempt:
    """An expert's episode, and whether it succeeded."""

    episode: DemonstrationEpisode
    success: bool


def demonstrate(env: gymnasium.Env, expert: Expert, features: Mapping[str, Feature], scene: int, way: int) -> Attempt:
    """Runs one episode of an expert.

    Args:
        env: a task's environment.
        expert: its demonstrator.
        features: those of the observation to keep.
        scene: seed of the environment.
        way: seed of the expert's choices.

    Raises:
        ValueError: an observation lacks a feature or has another shape or dtype, a number is not finite, or the
            environment does not say whether the task has succeeded; the message names the control step.
    """
    observation, info = env.reset(seed=scene)
    expert.reset(way)
    observations: list[dict[str, np.ndarray]] = []
    labels: list[np.ndarray] = []
    executed: list[np.ndarray] = []
    done = False
    while not done:
        with _in_step(len(observations), scene):
            command = expert.act(for_expert(env, observation))
            observations.append(read_features(features, observation, "the task declares"))
            labels.append(_action("label", command.label, env))
            executed.append(_action("action", command.action, env))
        observation, _, terminated, truncated, info = env.step(command.action)
        done = terminated or truncated
    episode = DemonstrationEpisode(stack(observations), np.stack(labels), np.stack(executed), scene)
    return Attempt(episode, has_succeeded(info))


@contextmanager
def _in_step(step: int, seed: int) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"control step {step} of the demonstration with seed {seed}: {error}") from error


def _action(name: str, value: np.ndarray, env: gymnasium.Env) -> np.ndarray:
    """Returns a copy of an expert's action.

    Raises:
        ValueError: it has not the shape of the environment's actions, or is not finite.
    """
    array = numbers(f"the expert's {name}", value)
    if array.shape != env.action_space.shape:
        raise ValueError(f"the expert's {name} has shape {array.shape}, the environment's actions {env.action_space.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"the expert's {name} is not finite: {array}")
    return array


def for_expert(env: gymnasium.Env, observation: Observation) -> Observation:
    """Returns the observation for an expert: the task's first kind, even if the environment observes images."""
    task = getattr(env.unwrapped, "task", None)
    if task is None or observation.keys() == task.observation.keys():
        return observation
    return env.unwrapped.observe(next(iter(task.observations)))  # type: ignore[attr-defined]


def describe(
    task: str, action_convention: str, action_noise: ActionNoise, seed: int, observation: str | None = None
) -> DemonstrationInfo:
    """The description that is stored with the demonstrations."""
    entry = find_task(task)
    known = {name: find_convention(name) for name in entry.task.conventions}
    convention = find(known, action_convention, "action convention")
    return DemonstrationInfo(
        task=task,
        action_convention=action_convention,
        observation=dict(entry.task.observed(observation)),
        action=convention.parts,
        action_low=tuple(convention.low.tolist()),
        action_high=tuple(convention.high.tolist()),
        control_hz=entry.task.control_hz,
        controller=entry.task.controller,
        made_with={
            "expert": entry.demonstrator.__name__,
            "disturbance": asdict(action_noise),  # stores written before must stay continuable
            "first_seed": seed,
            "versions": {name: version(name) for name in (*entry.task.packages, "numpy")},
        },
    )
