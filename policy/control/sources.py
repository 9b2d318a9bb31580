"""Sources of plans beside the control loop: in a thread, or in a separate process."""

from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch

from paradp.policy.control.shared_frames import Handed, SharedFrames
from paradp.policy.diffusion_policy import DiffusionPolicy
from paradp.policy.errors import described
from paradp.policy.observations import blank
from paradp.policy.processes import end_with_parent, spare_garbage_collection, spawning
from paradp.policy.requests import Chunk, PlanRequest, plan_together
from paradp.policy.spec import Interface

T = TypeVar("T")
# Time limit for a plan in progress when its process ends.
CLOSE_SECONDS = 1.0


class PlanSource(Protocol):
    """Makes plans while the robot moves.

    A future fails with `ValueError` if there is no plan for that request, and with another exception if the source is dead.
    """

    @property
    def spec(self) -> Interface:
        """The specification of its policy."""
        ...

    @property
    def alive(self) -> bool:
        """Whether it can still make plans."""
        ...

    def submit(self, request: PlanRequest) -> "Future[Chunk]":
        """Starts a plan. The caller cancels an earlier one that it does not need any more."""
        ...

    def close(self) -> None:
        """Ends the source."""
        ...


@runtime_checkable
class CanRestart(Protocol):
    """A source that can be restarted after it has died or hangs."""

    def restart(self) -> None:
        """Kills the planning process and starts a new one, without waiting for it."""
        ...


class NotLoaded(RuntimeError):
    """The planning process could not load the policy."""


class InThread:
    """Plans in a thread of this process. It needs no start-up time, but the loop and the network share an interpreter.

    Args:
        policy: makes the plans.
    """

    def __init__(self, policy: DiffusionPolicy):
        self.spec = policy.spec
        self.alive = True
        self._policy = policy
        self._executor = ThreadPoolExecutor(1, "plans")

    def submit(self, request: PlanRequest) -> "Future[Chunk]":
        return self._executor.submit(_plan, self._policy, request)

    def chosen(self) -> str | None:
        """The result of autotuning, in words; `None` if nothing was measured."""
        return _chosen(self._policy)

    def close(self) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)


class InProcess:
    """Plans in a separate process, which is spawned and loads the policy itself.

    If the process is killed, `alive` becomes false at once; `restart` starts another. Images are handed over in
    shared memory.

    Args:
        spec: the policy's specification.
        load: makes the policy; must be picklable, such as `partial(load_policy, "square")`.
        threads: threads of the network there; by default PyTorch's own number.
    """

    def __init__(self, spec: Interface, load: Callable[[], DiffusionPolicy], threads: int | None = None):
        self.spec = spec
        self._frames = SharedFrames(spec)
        self._initargs = load, threads, self._frames
        self._processes: list[BaseProcess]
        self._start()

    @property
    def alive(self) -> bool:
        # Not `is_alive`, which is true for a moment after another thread has waited for the process.
        return not self._not_loaded and not any(wait([process.sentinel], 0) for process in self._processes)

    def submit(self, request: PlanRequest) -> "Future[Chunk]":
        handed = self._frames.hand(request)
        try:
            future = self._submit(_plan_there, handed)
        except BaseException:
            self._frames.free(handed)
            raise
        future.add_done_callback(lambda done: self._frames.free(handed))
        future.add_done_callback(self._note)
        return future

    def chosen(self) -> str | None:
        """As for `InThread`; waits until the policy is loaded.

        Raises:
            NotLoaded: it could not be loaded.
        """
        return self._submit(_chosen_there).result()

    def restart(self) -> None:
        """Kills the process, even if it hangs; the next plan starts another, which loads the policy again."""
        self._end(0.0)
        self._start()

    def close(self) -> None:
        """Ends the process; kills it if it does not end in time."""
        self._end(CLOSE_SECONDS)

    def _start(self) -> None:
        self._executor = ProcessPoolExecutor(1, spawning(), initializer=_load, initargs=self._initargs)
        self._processes = []
        self._not_loaded = False

    def _submit(self, task: Callable[..., T], *args: Handed) -> "Future[T]":
        """Runs a task in the process, which the first one starts, and records the process, so that it can be ended."""
        future = self._executor.submit(task, *args)
        self._processes = self._processes or list(self._executor._processes.values())
        return future

    def _end(self, patience: float) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.join(patience)
            process.kill()
            process.join()

    def _note(self, future: "Future[Chunk]") -> None:
        self._not_loaded |= not future.cancelled() and isinstance(future.exception(), NotLoaded)


def blank_request(spec: Interface, kept: bool = False) -> PlanRequest:
    """A request for warming up, with zeros as observations.

    Args:
        spec: the policy's inputs and outputs.
        kept: whether the plan is to match an earlier one, which takes other code than a plan without.
    """
    history = blank(spec, spec.horizons.observe)
    if not kept:
        return PlanRequest(history, noise_seed=0)
    shape = (spec.horizons.predict, spec.action_size)
    return PlanRequest(history, 0, np.zeros(shape, np.float32), keep=np.ones(shape[0], np.float32))


def _plan(policy: DiffusionPolicy, request: PlanRequest) -> Chunk:
    return plan_together(policy, [request])[0]


def _chosen(policy: DiffusionPolicy) -> str | None:
    return None if policy.planned is None else policy.planned.describe()


# In the planning process: the policy, or the error of loading it.
_LOADED: DiffusionPolicy | str | None = None
_FRAMES: SharedFrames | None = None


def _load(load: Callable[[], DiffusionPolicy], threads: int | None, frames: SharedFrames) -> None:
    global _LOADED, _FRAMES
    end_with_parent()
    _FRAMES = frames
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        _LOADED = load()
    except Exception as error:
        _LOADED = described(error)
    spare_garbage_collection()


def _plan_there(handed: Handed) -> Chunk:
    assert _FRAMES is not None
    return _plan(_loaded(), _FRAMES.take(handed))


def _chosen_there() -> str | None:
    return _chosen(_loaded())


def _loaded() -> DiffusionPolicy:
    assert _LOADED is not None
    if isinstance(_LOADED, str):
        raise NotLoaded(f"the policy could not be loaded in the planning process: {_LOADED}")
    return _LOADED
