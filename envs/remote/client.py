"""Our side: environments of one task in a process of their own."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import numpy as np

from paradp.envs.remote import wire
from paradp.envs.remote.wire import Arrays

# Names the interpreter of an environment with `paradp[sim]`.
PYTHON_VARIABLE = "PARADP_SIM_PYTHON"
SECONDS_TO_END = 10
_KINDS: dict[str, type[Exception]] = {"OSError": OSError}


@dataclass(frozen=True)
class RemoteTask:
    """The description of the environments, from the other process.

    Attributes:
        task: the task's name.
        max_steps: length limit of an episode.
        control_hz: control steps a second.
        observation: key → length of a float32 vector, or height, width and channels of a uint8 image, in order.
        action_low: least value of every dimension of an action.
        action_high: likewise the largest.
        packages: versions that an episode depends on.
    """

    task: str
    max_steps: int
    control_hz: int
    observation: dict[str, int | tuple[int, int, int]]
    action_low: np.ndarray
    action_high: np.ndarray
    packages: dict[str, str]


@dataclass(frozen=True)
class Stepped:
    """The results of a control step; each array has one row per environment.

    Attributes:
        observation: by key.
        reward: float64.
        terminated: whether the episode has ended by itself.
        truncated: whether it has reached its length limit.
        success: the task's rule.
    """

    observation: Arrays
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    success: np.ndarray


class RemoteEnvironments:
    """Environments of one task, by their places 0, 1, …, which are reset and stepped in another process.

    That process ends with this one, or by `close`. Needs no simulator here, nor gymnasium. Steps of several such processes
    overlap if all are asked (`ask_step`) before the first answer is read (`stepped`). An answer that an exception kept from
    being read is skipped by the next question; an exception in the middle of a message ends the process.

    Args:
        task: its name.
        count: number of environments.
        python: the interpreter of an environment with `paradp[sim]`; by default what `PARADP_SIM_PYTHON` names, and else the
            one that runs this.
        settings: `observation`, `action_convention`, `disturbance`, `max_steps` and `render`, see
            `paradp.envs.remote.child.Host`.

    Raises:
        ValueError: the task or a setting is unknown, or an action has another shape than the task's, or is not finite.
        OSError: there is no such interpreter, or images cannot be drawn there.
        ChildProcessError: the process has ended, or lacks a package; the message says so.
    """

    def __init__(self, task: str, count: int = 1, python: Path | str | None = None, **settings: Any):
        self._python = str(python or os.environ.get(PYTHON_VARIABLE) or sys.executable)
        self._task = task
        self._unanswered: str | None = None  # what was asked, until its answer is read
        # Without -P it would import what lies in the working folder.
        command = [self._python, "-P", "-m", f"{__package__}.child"]
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except OSError as error:
            raise OSError(f"there is no interpreter {self._python!r} for the simulator: {error.strerror}") from error
        try:
            said, arrays = self._asked("make", task=task, count=count, **settings)
            self.description = _description(said, arrays)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "RemoteEnvironments":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def reset(self, places: Sequence[int], seeds: Sequence[int | None]) -> Arrays:
        """Begins episodes: the first observations, one row each. A seed `None` is drawn."""
        return _observation(self._asked("reset", places=list(places), seeds=list(seeds))[1])

    def step(self, places: Sequence[int], actions: np.ndarray) -> Stepped:
        """A control step of some environments: `actions` is `[places, A]`."""
        self.ask_step(places, actions)
        return self.stepped()

    def ask_step(self, places: Sequence[int], actions: np.ndarray) -> None:
        """Begins what `step` does."""
        self._send("step", {"actions": np.asarray(actions, np.float64)}, places=list(places))

    def stepped(self) -> Stepped:
        """Waits for the end of what `ask_step` began.

        Raises:
            RuntimeError: it began nothing, or something else was asked since.
        """
        if self._unanswered != "step":
            raise RuntimeError("no control step was asked for, or something else since")
        _, arrays = self._receive()
        return Stepped(_observation(arrays), *(arrays[name] for name in ("reward", "terminated", "truncated", "success")))

    def render(self, places: Sequence[int]) -> np.ndarray:
        """A frame of each, `[places, height, width, 3]`; needs the setting `render`."""
        return self._asked("render", places=list(places))[1]["frames"]

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):  # it has ended with something unread
            self._process.stdin.close()
        try:
            self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _asked(self, do: str, **asked: Any) -> tuple[dict[str, Any], Arrays]:
        self._send(do, {}, **asked)
        return self._receive()

    def _send(self, do: str, arrays: Arrays, **asked: Any) -> None:
        assert self._process.stdin is not None
        if self._process.stdin.closed:
            raise ChildProcessError(f"the simulator of the task {self._task!r} is closed")
        if self._process.returncode is not None:
            raise self._ended()
        message = wire.packed({"do": do, **asked}, arrays)
        if self._unanswered is not None:
            self._answer()
        with self._whole_message():
            self._unanswered = do
            wire.write(self._process.stdin, message)

    def _receive(self) -> tuple[dict[str, Any], Arrays]:
        said, arrays = self._answer()
        if (problem := said.get("error")) is None:
            return said, arrays
        if said.get("kind") == "ImportError":
            raise ChildProcessError(f"the task {self._task!r} cannot be simulated by {self._python}: {problem}; {_ADVICE}")
        raise _KINDS.get(str(said.get("kind")), ValueError)(problem)

    def _answer(self) -> tuple[dict[str, Any], Arrays]:
        """The next message of the process."""
        if self._process.returncode is not None:
            raise self._ended()
        pipe = cast(BufferedReader, self._process.stdout)
        pipe.peek(1)  # waits, and takes nothing from the pipe: an exception meanwhile does no harm
        with self._whole_message():
            answer = wire.read(pipe)
            self._unanswered = None
        if answer is None:
            raise self._ended()
        return answer

    @contextmanager
    def _whole_message(self) -> Iterator[None]:
        """Ends the process if an exception cuts a message off, as the next would begin in the middle of it."""
        try:
            yield
        except BrokenPipeError:
            raise self._ended() from None
        except BaseException as error:
            self._process.kill()
            self._process.wait()
            if isinstance(error, ValueError):
                raise ChildProcessError(f"the simulator of the task {self._task!r} gave no answer: {error}") from error
            raise

    def _ended(self) -> ChildProcessError:
        code = self._process.wait()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        advice = "" if hasattr(self, "description") else f"; {_ADVICE}"
        return ChildProcessError(f"the simulator of the task {self._task!r}, a process of {self._python}, {how}{advice}")


_ADVICE = f"name the interpreter of an environment with paradp[sim], such as by {PYTHON_VARIABLE}"


def _description(said: dict[str, Any], arrays: Arrays) -> RemoteTask:
    sizes = {key: shape if isinstance(shape, int) else tuple(shape) for key, shape in said["observation"].items()}
    return RemoteTask(**{**said, **arrays, "observation": sizes})


def _observation(arrays: Arrays) -> Arrays:
    return {key.removeprefix("seen."): array for key, array in arrays.items() if key.startswith("seen.")}
