"""The client of a simulator process: starts it, sends requests and reads the answers."""

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

# The environment variable with the path of a Python interpreter with paradp and its extra `sim`.
PYTHON_VARIABLE = "PARADP_SIM_PYTHON"
SECONDS_TO_END = 10
_KINDS: dict[str, type[Exception]] = {"OSError": OSError}


@dataclass(frozen=True)
class RemoteTask:
    """The description of a task, sent by the simulator process.

    Attributes:
        task: the task's name.
        max_steps: length limit of an episode.
        control_hz: control steps a second.
        observation: key → length of a float32 vector, or height, width and channels of a uint8 image, in order.
        action_low: lower limit of each dimension of an action.
        action_high: upper limit of each dimension.
        packages: versions of the packages that affect an episode.
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
        observation: key → array.
        reward: float64.
        terminated: whether the task has ended the episode.
        truncated: whether the episode has reached its length limit.
        success: whether the task's success rule holds.
    """

    observation: Arrays
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    success: np.ndarray


class RemoteEnvironments:
    """Several environments of one task in a simulator process, numbered 0, 1, …

    The calling process needs neither the simulator nor gymnasium. The simulator process ends with it or on `close`. Steps in
    several simulator processes overlap: call `ask_step` on all of them before the first `stepped`. If an exception (such as
    Ctrl-C) prevents an answer from being read, the next request discards that answer. If the exception occurs in the middle
    of a message, the simulator process is killed.

    Args:
        task: the task's name.
        count: number of environments.
        python: path of a Python interpreter with paradp and its extra `sim`; by default the value of `PARADP_SIM_PYTHON`,
            or the current interpreter.
        settings: `observation`, `action_convention`, `disturbance`, `max_steps` and `render`, see
            `paradp.envs.remote.child.Host`.

    Raises:
        ValueError: the task or a setting is unknown, or an action has the wrong shape or is not finite.
        OSError: the interpreter does not exist, or images cannot be rendered.
        ChildProcessError: the process has ended or lacks a package; the message says which.
    """

    def __init__(self, task: str, count: int = 1, python: Path | str | None = None, **settings: Any):
        self._python = str(python or os.environ.get(PYTHON_VARIABLE) or sys.executable)
        self._task = task
        self._unanswered: str | None = None  # the last request, until its answer is read
        # -P: do not import modules from the working folder.
        command = [self._python, "-P", "-m", f"{__package__}.child"]
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except OSError as error:
            raise OSError(f"the simulator's interpreter {self._python!r} cannot be started: {error.strerror}") from error
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
        """Resets environments and returns the first observations, one row per environment. A seed of `None` is random."""
        return _observation(self._asked("reset", places=list(places), seeds=list(seeds))[1])

    def step(self, places: Sequence[int], actions: np.ndarray) -> Stepped:
        """Makes one control step in some environments: `actions` is `[places, A]`."""
        self.ask_step(places, actions)
        return self.stepped()

    def ask_step(self, places: Sequence[int], actions: np.ndarray) -> None:
        """Sends the actions of a control step without waiting for its results; `stepped` returns these."""
        self._send("step", {"actions": np.asarray(actions, np.float64)}, places=list(places))

    def stepped(self) -> Stepped:
        """Waits for the results of the last `ask_step`.

        Raises:
            RuntimeError: `ask_step` was not the last request.
        """
        if self._unanswered != "step":
            raise RuntimeError("call ask_step before stepped, with no other request in between")
        _, arrays = self._receive()
        return Stepped(_observation(arrays), *(arrays[name] for name in ("reward", "terminated", "truncated", "success")))

    def render(self, places: Sequence[int]) -> np.ndarray:
        """Renders one frame of each environment, `[places, height, width, 3]`; needs the setting `render`."""
        return self._asked("render", places=list(places))[1]["frames"]

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):  # the process has ended before it read everything
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
        """Reads the next message of the process."""
        if self._process.returncode is not None:
            raise self._ended()
        pipe = cast(BufferedReader, self._process.stdout)
        pipe.peek(1)  # waits without reading, so an exception meanwhile (Ctrl-C) leaves the pipe intact
        with self._whole_message():
            answer = wire.read(pipe)
            self._unanswered = None
        if answer is None:
            raise self._ended()
        return answer

    @contextmanager
    def _whole_message(self) -> Iterator[None]:
        """Kills the process if an exception interrupts a message, because the next one would begin in the middle of it."""
        try:
            yield
        except BrokenPipeError:
            raise self._ended() from None
        except BaseException as error:
            self._process.kill()
            self._process.wait()
            if isinstance(error, ValueError):
                raise ChildProcessError(f"the simulator of the task {self._task!r} sent invalid data: {error}") from error
            raise

    def _ended(self) -> ChildProcessError:
        code = self._process.wait()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        advice = "" if hasattr(self, "description") else f"; {_ADVICE}"
        return ChildProcessError(f"the simulator process of the task {self._task!r} ({self._python}) {how}{advice}")


_ADVICE = f"set {PYTHON_VARIABLE} to the path of a Python interpreter with paradp and its extra sim"


def _description(said: dict[str, Any], arrays: Arrays) -> RemoteTask:
    sizes = {key: shape if isinstance(shape, int) else tuple(shape) for key, shape in said["observation"].items()}
    return RemoteTask(**{**said, **arrays, "observation": sizes})


def _observation(arrays: Arrays) -> Arrays:
    return {key.removeprefix("seen."): array for key, array in arrays.items() if key.startswith("seen.")}
