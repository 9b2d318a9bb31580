"""Where plans are made: beside the control loop in a thread, or in a process of its own."""

from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Protocol, runtime_checkable

import torch

from paradp.policy.control.shared_frames import Handed, SharedFrames
from paradp.policy.diffusion_policy import DiffusionPolicy
from paradp.policy.errors import described
from paradp.policy.observations import blank
from paradp.policy.processes import end_with_parent, spare_garbage_collection, spawning
from paradp.policy.requests import Chunk, PlanRequest, plan_together
from paradp.policy.spec import Interface

# For a plan under way, when its process should end.
CLOSE_SECONDS = 1.0


class PlanSource(Protocol):
    """Makes plans while the robot moves.

    A future fails with `ValueError` if there is no plan for that request, and with another exception if the source is dead.
    """

    @property
    def spec(self) -> Interface:
        """What its policy was trained for."""
        ...

    @property
    def alive(self) -> bool:
        """Whether plans can still come from it."""
        ...

    def submit(self, request: PlanRequest) -> "Future[Chunk]":
        """Begins a plan; one that was begun before is not wanted any more."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class CanRestart(Protocol):
    """A source that can begin anew after it has died or hangs."""

    def restart(self) -> None:
        """Ends what makes the plans, at once, and starts it again without waiting for it."""
        ...


class NotLoaded(RuntimeError):
    """The policy could not be loaded where plans are made."""


class InThread:
    """Plans in a thread of this process: at hand at once, but the loop and the network share an interpreter.

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
        """What was measured to be fastest here, in words; `None` where nothing was measured."""
        return _chosen(self._policy)

    def close(self) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)


class InProcess:
    """Plans in a process of its own, which is started anew (spawn) and loads the policy there.

    A process that was killed is noticed at once; `restart` starts another. Images go there through shared memory.

    Args:
        spec: what the policy was trained for.
        load: makes the policy; must be picklable, such as `partial(load_policy, "square")`.
        threads: of the network there; PyTorch's own number by default.
    """

    def __init__(self, spec: Interface, load: Callable[[], DiffusionPolicy], threads: int | None = None):
        self.spec = spec
        self._frames = SharedFrames(spec)
        self._initargs = load, threads, self._frames
        self._processes: list[BaseProcess]
        self._start()

    @property
    def alive(self) -> bool:
        # Not by `is_alive`, which for a moment says yes of a process that another thread has just waited for.
        return not self._not_loaded and not any(wait([process.sentinel], 0) for process in self._processes)

    def submit(self, request: PlanRequest) -> "Future[Chunk]":
        handed = self._frames.hand(request)
        try:
            future = self._executor.submit(_plan_there, handed)
        except BaseException:
            self._frames.free(handed)
            raise
        future.add_done_callback(lambda done: self._frames.free(handed))
        future.add_done_callback(self._note)
        self._processes = self._processes or list(self._executor._processes.values())
        return future

    def chosen(self) -> str | None:
        """As of `InThread`; waits until the policy is loaded.

        Raises:
            NotLoaded: it could not be loaded.
        """
        return self._executor.submit(_chosen_there).result()

    def restart(self) -> None:
        """Kills the process, also one that hangs; the next plan starts another, which loads the policy again."""
        self._end(0.0)
        self._start()

    def close(self) -> None:
        """Ends the process, in its own time or not."""
        self._end(CLOSE_SECONDS)

    def _start(self) -> None:
        self._executor = ProcessPoolExecutor(1, spawning(), initializer=_load, initargs=self._initargs)
        self._processes = []
        self._not_loaded = False

    def _end(self, patience: float) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.join(patience)
            process.kill()
            process.join()

    def _note(self, future: "Future[Chunk]") -> None:
        self._not_loaded |= not future.cancelled() and isinstance(future.exception(), NotLoaded)


def blank_request(spec: Interface) -> PlanRequest:
    """A request to warm up with: nothing observed."""
    return PlanRequest(blank(spec, spec.horizons.observe), noise_seed=0)


def _plan(policy: DiffusionPolicy, request: PlanRequest) -> Chunk:
    return plan_together(policy, [request])[0]


def _chosen(policy: DiffusionPolicy) -> str | None:
    return None if policy.planned is None else policy.planned.describe()


# The policy of a process that makes plans for another, or why there is none.
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
        raise NotLoaded(f"the policy could not be loaded in the process that plans: {_LOADED}")
    return _LOADED
