"""Control in real time: one chunk is executed while the next is planned elsewhere."""

import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, wait
from typing import get_args

from paradp.policy.choices import Blending, Late
from paradp.policy.control.chunks import AtTheEnd
from paradp.policy.control.controller import Command, Hold, Replan
from paradp.policy.control.follower import ChunkFollower
from paradp.policy.control.sources import CanRestart, PlanSource, blank_request
from paradp.policy.errors import described
from paradp.policy.observations import Observation
from paradp.policy.requests import Chunk, PlanRequest
from paradp.policy.values import positive_number
from paradp.sampler.streams import stream

_SEEDS = 2**63
# To load a policy elsewhere, measure samplers where `auto` finds nothing in the cache, and compile: a minute on an idle
# machine, many times that on one that computes something else as well.
WARM_UP_SECONDS = 900.0
WARM_UP_PLANS = 3


class LatePlan(TimeoutError):
    """A chunk was not there when it was due, and that was declared to stop the robot."""


class DeadInference(ConnectionError):
    """No plans come any more."""


class AsyncController:
    """A `Controller` whose `act` never waits for the policy.

    The next chunk is asked for so early that, if it takes as long as any of the last eight, it is there when Ta actions of
    the present one are executed. It is joined by what was executed in between, which is counted, never estimated.

    Args:
        source: where plans are made.
        hold: what the robot is told while there is nothing to execute.
        late: what happens when a chunk is not there by then: the robot holds (`hold`), goes on with the rest of its chunk
            and holds at its end (`continue-chunk`), or `act` raises (`stop`).
        execute: Ta; the checkpoint's own by default.
        blending: how a chunk takes over from the one before, see `paradp.policy.control.blending`; `inpaint` succeeds most.
        budget: seconds for a plan's solver; a plan that would take longer is ended by then, not converged. See "With a
            deadline" in docs/exactness.md for what that does to the distribution of plans.
        dead_after: seconds after which a plan that does not come means that none will.
        seed: of the plans' noise until `reset` gives another.

    Raises:
        ValueError: `execute` is not among the predicted steps, or another setting is none that there is.
    """

    def __init__(
        self,
        source: PlanSource,
        hold: Hold,
        late: Late = "continue-chunk",
        execute: int | None = None,
        budget: float | None = None,
        dead_after: float = 2.0,
        seed: int = 0,
        blending: Blending = "inpaint",
    ):
        if late not in get_args(Late):
            raise ValueError(f"late must be one of {', '.join(get_args(Late))}, not {late!r}")
        if blending not in get_args(Blending):
            raise ValueError(f"blending must be one of {', '.join(get_args(Blending))}, not {blending!r}")
        self.spec = source.spec
        self._execute = execute
        self._source = source
        self._hold = hold
        self._late = late
        self._budget = None if budget is None else positive_number("budget", budget, "seconds")
        self._dead_after = positive_number("dead_after", dead_after, "seconds")
        self._blending = blending
        self._coming: tuple[Future[Chunk], float] | None = None
        self._warming: tuple[Future[Chunk], float] | None = None
        self.reset(seed)

    def reset(self, seed: int | None = None) -> None:
        """Forgets the episode. With a seed, its noise is that seed's; without one, the noise goes on.

        A source that has died or hangs is started again, where it can be (`InProcess`). That does not wait: until its policy
        is loaded, `act` holds the robot.
        """
        if seed is not None:
            self._noise = stream(seed, "noise")
        if self._is_dead() and isinstance(self._source, CanRestart):
            self._source.restart()
            self._warming = [self._submit(blank_request(self.spec)) for _ in range(WARM_UP_PLANS)][-1], time.perf_counter()
        at_the_end: AtTheEnd = "hold" if self._late == "hold" else "continue-chunk"
        self._robot = ChunkFollower(self.spec, self._execute, True, at_the_end, self._blending, self._hold)
        if self._coming is not None:
            self._coming[0].cancel()
        self._coming = None
        self._missed_this = False

    def warm_up(
        self,
        plans: int = WARM_UP_PLANS,
        patience: float = WARM_UP_SECONDS,
        on_wait: Callable[[str], None] = lambda words: None,
    ) -> float:
        """Plans a few times before the first control step; returns the seconds that the last plan took.

        Args:
            plans: how many; the first loads and compiles what is needed.
            patience: seconds for all of them.
            on_wait: called about once a second with what is waited for, in words.

        Raises:
            ValueError: there is no plan.
            DeadInference: the source is dead, or there are no plans within `patience`.
        """
        began_all = began = time.perf_counter()
        for number in range(1, plans + 1):
            began = time.perf_counter()
            future = self._submit(blank_request(self.spec))
            what = "the first plan (the policy is loaded and compiled)" if number == 1 else f"plan {number} of {plans}"
            while not wait([future], 1.0).done:
                waited = time.perf_counter() - began_all
                if waited > patience:
                    future.cancel()
                    raise DeadInference(f"there are no plans: {what} has not come within {waited:.0f} s")
                on_wait(f"waiting for {what}: {waited:.0f} s")
            _raise_if_failed(future, "there are no plans")
        return time.perf_counter() - began

    def act(self, observation: Observation) -> Command:
        """The action of this control step.

        Raises:
            ValueError: the observation cannot be read, or the policy gave a plan that is not finite.
            LatePlan: a chunk was not there when it was due, and `late` is `stop`.
            DeadInference: the source is dead, or silent for `dead_after`.
        """
        self._robot.observe(observation)
        if self._still_warming():
            return self._robot.next(observation, None)
        replan = self._join_arrived()
        if not self._source.alive:
            raise DeadInference("what makes the plans has died")
        if self._robot.wants_chunk:
            self._ask()
            # What plans without delay, such as a test's source, is there at once.
            replan = self._join_arrived() or replan
        return self._robot.next(observation, replan, self._check_late())

    def take_back(self) -> None:
        """To be called before `act` where the last command came too late for the robot, which repeated the one before:
        its action was not consumed, and is the next one again."""
        self._robot.take_back()

    def close(self) -> None:
        """Ends the source."""
        self._source.close()

    def _ask(self) -> None:
        robot, seed = self._robot, int(self._noise.integers(_SEEDS))
        request = PlanRequest(robot.history, seed, robot.guess, self._budget, robot.keep)
        self._coming = self._submit(request), time.perf_counter()
        robot.ask()
        self._missed_this = False

    def _submit(self, request: PlanRequest) -> "Future[Chunk]":
        try:
            return self._source.submit(request)
        except Exception as error:
            raise DeadInference(f"no plan can be begun: {described(error)}") from error

    def _is_dead(self) -> bool:
        """Whether nothing can be expected of the source any more: it has died, or hangs."""
        if not self._source.alive:
            return True
        pending = [(self._coming, self._dead_after), (self._warming, WARM_UP_SECONDS)]
        now = time.perf_counter()
        return any(asked and not asked[0].done() and now - asked[1] > patience for asked, patience in pending)

    def _still_warming(self) -> bool:
        """Whether a source that was started again has yet to make its first plans.

        Raises:
            DeadInference: it has died again, or takes longer than `WARM_UP_SECONDS`.
        """
        if self._warming is None:
            return False
        future, since = self._warming
        if future.done():
            self._warming = None
            _raise_if_failed(future, "what makes the plans could not be started again")
            return False
        if (waited := time.perf_counter() - since) > WARM_UP_SECONDS:
            raise DeadInference(f"what makes the plans was started again, and has made none for {waited:.0f} s")
        return True

    def _join_arrived(self) -> Replan | None:
        if self._coming is None or not self._coming[0].done():
            return None
        (future, _), self._coming = self._coming, None
        try:
            _raise_if_failed(future, "what makes the plans has died")
        except (ValueError, DeadInference):
            self._robot.forget()
            raise
        chunk = future.result()
        return Replan(chunk.stats, self._robot.take(chunk))

    def _check_late(self) -> bool:
        """Whether a chunk is found to be late in this control step."""
        if self._coming is None:
            return False
        silent = time.perf_counter() - self._coming[1]
        if silent > self._dead_after:
            raise DeadInference(f"a plan has not come for {silent:.1f} s")
        if not self._robot.overdue or self._missed_this:
            return False
        self._missed_this = True
        if self._late == "stop":
            raise LatePlan(f"a chunk was not there {1000 * silent:.0f} ms after it was asked for, when it was due")
        return True


def _raise_if_failed(future: "Future[Chunk]", what: str) -> None:
    """Of a plan that is done.

    Raises:
        ValueError: there is no plan for its request.
        DeadInference: there are none any more; the message begins with `what`.
    """
    error = CancelledError() if future.cancelled() else future.exception()
    if isinstance(error, ValueError):
        raise error
    if error is not None:
        raise DeadInference(f"{what}: {described(error)}") from error
