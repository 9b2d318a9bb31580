"""The simulator process, `python -m paradp.envs.remote.child`: makes environments of one task and answers requests.

It ends when the process that started it closes the pipe, ends or is killed.
"""

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from paradp.envs.registry import find_task
from paradp.envs.remote import wire
from paradp.envs.remote.wire import Arrays
from paradp.envs.task import images

Answer = tuple[dict[str, Any], Arrays]


class Host:
    """Several environments of one task, numbered 0, 1, …

    Args:
        task: the task's name.
        count: number of environments.
        observation: one of the task's kinds of observations; by default the first.
        action_convention: one of the task's action conventions; by default the first.
        disturbance: name of a disturbance of the object; by default none.
        max_steps: length limit of an episode; by default the task's.
        render: make environments that can render frames.

    Raises:
        ValueError: the task or a setting is unknown.
        ImportError: the simulator is not installed in this interpreter.
        OSError: the observation has images, and this machine cannot render them.
    """

    def __init__(
        self,
        task: str,
        count: int,
        observation: str | None = None,
        action_convention: str | None = None,
        disturbance: str | None = None,
        max_steps: int | None = None,
        render: bool = False,
    ):
        self._task = find_task(task).task
        self._features = self._task.observed(observation)
        if disturbance is not None:
            self._task.check_disturbance(disturbance)
        import gymnasium

        # Environments of other packages may lack this argument.
        asked = {} if self._features == self._task.observation else {"observation": observation}
        self._envs = [
            gymnasium.make(
                self._task.env_id,
                max_episode_steps=max_steps,
                action_convention=action_convention or self._task.conventions[0],
                disturbance=disturbance,
                render_mode="rgb_array" if render else None,
                **asked,
            )
            for _ in range(count)
        ]
        self._max_steps = max_steps or self._task.max_steps

    def describe(self) -> Answer:
        """Returns the description of the environments, see `RemoteTask`."""
        space = self._envs[0].action_space
        said = {
            "task": self._task.name,
            "max_steps": self._max_steps,
            "control_hz": self._task.control_hz,
            "observation": dict(self._features),
            "packages": {name: _version(name) for name in self._task.packages},
        }
        return said, {"action_low": space.low, "action_high": space.high}

    def reset(self, places: list[int], seeds: list[int | None]) -> Answer:
        """Resets environments to begin episodes, and returns the first observations, one row per environment."""
        envs = self._of(places, len(seeds), "seeds")
        return {}, self._stacked([env.reset(seed=seed)[0] for env, seed in zip(envs, seeds, strict=True)])

    def step(self, places: list[int], actions: np.ndarray) -> Answer:
        """Makes one control step in some environments.

        Args:
            places: their numbers.
            actions: `[places, A]`.
        """
        envs = self._of(places, len(actions), "actions")
        outcomes = [env.step(one.astype(env.action_space.dtype)) for env, one in zip(envs, actions, strict=True)]
        observations, rewards, terminated, truncated, infos = zip(*outcomes, strict=True)
        return {}, {
            "reward": np.array(rewards, np.float64),
            "terminated": np.array(terminated, bool),
            "truncated": np.array(truncated, bool),
            "success": np.array([info["success"] for info in infos], bool),
        } | self._stacked(observations)

    def render(self, places: list[int]) -> Answer:
        """Renders one frame of each environment."""
        return {}, {"frames": np.stack([env.render() for env in self._of(places)])}

    def _of(self, places: list[int], given: int | None = None, what: str = "") -> list[Any]:
        """Returns the environments with these numbers; `given` is the number of actions or seeds, one for each."""
        if given is not None and given != len(places):
            raise ValueError(f"got {given} {what} for {_counted(len(places))}")
        if unknown := [i for i in places if i not in range(len(self._envs))]:
            raise ValueError(f"no environment has the number {unknown[0]}; the task has {_counted(len(self._envs))}")
        return [self._envs[i] for i in places]

    def _stacked(self, observations: Sequence[Mapping[str, np.ndarray]]) -> Arrays:
        kinds = {key: np.uint8 if key in images(self._features) else np.float32 for key in self._features}
        return {f"seen.{key}": np.stack([one[key] for one in observations]).astype(kind) for key, kind in kinds.items()}


def answer(host: Host | None, said: dict[str, Any], arrays: Arrays) -> tuple[Host | None, Answer]:
    """Executes one request.

    Args:
        host: the environments; `None` until the request `make`.
        said: the request's name, as `do`, and its arguments.
        arrays: further arguments.

    Returns:
        The environments, and the answer; `{"error": …}` if the request failed.
    """
    do = said.pop("do", None)
    try:
        if do == "make":
            host = Host(**said)
            return host, host.describe()
        if host is None:
            raise ValueError("environments must be made before anything else")
        known: dict[str, Callable[..., Answer]] = {"reset": host.reset, "step": host.step, "render": host.render}
        if do not in known:
            raise ValueError(f"unknown request {str(do)[:40]!r}")
        return host, known[do](**said, **arrays)
    except (ImportError, OSError, ValueError, TypeError) as error:
        kind = next(one.__name__ for one in (ImportError, OSError, Exception) if isinstance(error, one))
        return host, ({"error": " ".join(str(error).split()) or type(error).__name__, "kind": kind}, {})


def main() -> None:
    """Answers requests until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one handles Ctrl-C
    # Standard output carries the answers, so the prints of libraries go to standard error.
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        host: Host | None = None
        while (asked := wire.read(sys.stdin.buffer)) is not None:
            host, (said, arrays) = answer(host, *asked)
            wire.write(answers, wire.packed(said, arrays))


def _counted(count: int) -> str:
    return f"{count} environment{'s' * (count != 1)}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


if __name__ == "__main__":
    main()
