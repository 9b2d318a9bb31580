"""The simulator's side: `python -m paradp.envs.remote.child` holds environments of one task, and does what it is asked.

It ends when nobody asks any more: when the process that started it closes the pipe, ends or is killed.
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
    """Environments of one task, by their places 0, 1, …

    Args:
        task: its name.
        count: number of environments.
        observation: one of the task's kinds of observations; the first for `None`.
        action_convention: one of the task's; the first for `None`.
        disturbance: of the task's object; `None` for none.
        max_steps: length limit of an episode; the task's own for `None`.
        render: whether frames will be asked for.

    Raises:
        ValueError: the task, or one of these, is unknown.
        ImportError: the simulator is not installed here.
        OSError: it observes images, and none can be drawn here.
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

        # Environments of other people's tasks may know no such setting.
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
        """Describes the environments for the other side."""
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
        """Begins episodes: the first observations, one row each."""
        envs = self._of(places, len(seeds), "seeds")
        return {}, self._stacked([env.reset(seed=seed)[0] for env, seed in zip(envs, seeds, strict=True)])

    def step(self, places: list[int], actions: np.ndarray) -> Answer:
        """A control step of some environments.

        Args:
            places: which.
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
        """A frame of each."""
        return {}, {"frames": np.stack([env.render() for env in self._of(places)])}

    def _of(self, places: list[int], given: int | None = None, what: str = "") -> list[Any]:
        """The environments of these places, for each of which something was given."""
        if given is not None and given != len(places):
            raise ValueError(f"there are {given} {what} for {_counted(len(places))}")
        if unknown := [i for i in places if i not in range(len(self._envs))]:
            raise ValueError(f"there is no environment {unknown[0]} among {_counted(len(self._envs))}")
        return [self._envs[i] for i in places]

    def _stacked(self, observations: Sequence[Mapping[str, np.ndarray]]) -> Arrays:
        kinds = {key: np.uint8 if key in images(self._features) else np.float32 for key in self._features}
        return {f"seen.{key}": np.stack([one[key] for one in observations]).astype(kind) for key, kind in kinds.items()}


def answer(host: Host | None, said: dict[str, Any], arrays: Arrays) -> tuple[Host | None, Answer]:
    """Does what a message asks.

    Args:
        host: the environments, once they are made.
        said: what to do, and its arguments.
        arrays: more arguments.

    Returns:
        The environments, and the answer; `{"error": …}` where it cannot be done.
    """
    do = said.pop("do", None)
    try:
        if do == "make":
            host = Host(**said)
            return host, host.describe()
        if host is None:
            raise ValueError("no environments are made yet")
        known: dict[str, Callable[..., Answer]] = {"reset": host.reset, "step": host.step, "render": host.render}
        if do not in known:
            raise ValueError(f"a simulator cannot {str(do)[:40]!r}")
        return host, known[do](**said, **arrays)
    except (ImportError, OSError, ValueError, TypeError) as error:
        kind = next(one.__name__ for one in (ImportError, OSError, Exception) if isinstance(error, one))
        return host, ({"error": " ".join(str(error).split()) or type(error).__name__, "kind": kind}, {})


def main() -> None:
    """Answers until there is nothing more to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is answered by who started this
    # What libraries print must not stand between the answers.
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
