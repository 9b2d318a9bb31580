"""Asynchronous control: the robot executes one chunk while the next one is planned in another thread or process."""

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
from paradp.sampler.lookup import renamed_arguments
from paradp.sampler.streams import stream

_SEEDS = 2**63
# Time to load and compile a policy in another process, and to autotune if the cache has no result: about a minute on an idle
# machine, and many times that on a busy one.
WARM_UP_SECONDS = 900.0
WARM_UP_PLANS = 3


class LatePlan(TimeoutError):
    """A chunk was late, and `late="stop"` was set."""


class DeadInference(ConnectionError):
    """The source of plans has died, or no longer answers."""


@renamed_arguments(joining="blending")
class AsyncController:
    """A `Controller` whose `act` never waits for the policy.

    It requests the next chunk early enough for the worst latency of the last eight plans, so that it arrives before Ta
    actions of the current one are executed. It counts the actions executed in between and drops as many of the new ones.

    Args:
        source: makes the plans.
        hold: returns the command for control steps without an action to execute.
        late: what to do if a chunk is late: hold the position (`hold`), execute the rest of the current chunk and then hold
            (`continue-chunk`), or raise an error in `act` (`stop`).
        execute: Ta; the checkpoint's own by default.
        blending: how a chunk takes over from the one before, see `paradp.policy.control.blending`; `inpaint` succeeds most.
        budget: time limit in seconds for the solver of a plan; the solver then returns its current iterate, unconverged. For
            the effect on the distribution of plans see "With a deadline" in docs/exactness.md.
        dead_after: seconds without an answer after which the source counts as dead.
        seed: for the plans' noise, until `reset` sets another.

    Raises:
        ValueError: `execute` exceeds the predicted steps, or another setting is invalid.
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
        """Begins an episode. A seed restarts the noise; without one, the random stream continues.

        Restarts a source that has died or hangs, if it can be restarted (`InProcess`). The call does not wait for it: `act`
        holds the robot until the policy is loaded.
        """
        if seed is not None:
            self._noise = stream(seed, "noise")
        if self._is_dead() and isinstance(self._source, CanRestart):
            self._source.restart()
            self._warming = [*map(self._warm, range(1, WARM_UP_PLANS + 1))][-1], time.perf_counter()
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
        """Makes some plans before the first control step; returns the seconds of the last one.

        Args:
            plans: how many; the first one loads and compiles the policy.
            patience: seconds for all of them together.
            on_wait: called about once a second with a progress message.

        Raises:
            ValueError: the policy cannot make a plan.
            DeadInference: the source is dead, or takes longer than `patience`.
        """
        began_all = began = time.perf_counter()
        for number in range(1, plans + 1):
            began = time.perf_counter()
            future = self._warm(number)
            what = "the first plan (the policy is loaded and compiled)" if number == 1 else f"plan {number} of {plans}"
            while not wait([future], 1.0).done:
                waited = time.perf_counter() - began_all
                if waited > patience:
                    future.cancel()
                    raise DeadInference(f"there are no plans: {what} has not arrived within {waited:.0f} s")
                on_wait(f"waiting for {what}: {waited:.0f} s")
            _raise_if_failed(future, "there are no plans")
        return time.perf_counter() - began

    def act(self, observation: Observation) -> Command:
        """The action of this control step.

        Raises:
            ValueError: the observation is invalid, or the policy made a plan that is not finite.
            LatePlan: a chunk is late, and `late` is `stop`.
            DeadInference: the source is dead, or has not answered for `dead_after` seconds.
        """
        self._robot.observe(observation)
        if self._still_warming():
            return self._robot.next(observation, None)
        replan = self._join_arrived()
        if not self._source.alive:
            raise DeadInference("the source of plans has died")
        if self._robot.wants_chunk:
            self._ask()
            # A source without delay, as in tests, has the plan at once.
            replan = self._join_arrived() or replan
        return self._robot.next(observation, replan, self._check_late())

    def take_back(self) -> None:
        """Undoes the last command, so that its action comes again next.

        Call it before `act` if that command came too late and the robot repeated the one before.
        """
        self._robot.take_back()

    def close(self) -> None:
        """Closes the source."""
        self._source.close()

    def _ask(self) -> None:
        robot, seed = self._robot, int(self._noise.integers(_SEEDS))
        request = PlanRequest(robot.history, seed, robot.guess, self._budget, robot.keep)
        self._coming = self._submit(request), time.perf_counter()
        robot.ask()
        self._missed_this = False

    def _warm(self, number: int) -> "Future[Chunk]":
        """Requests a plan for warming up: the first, number 1, as at the start of an episode, the others as later in it."""
        return self._submit(blank_request(self.spec, kept=number > 1 and self._blending == "inpaint"))

    def _submit(self, request: PlanRequest) -> "Future[Chunk]":
        try:
            return self._source.submit(request)
        except Exception as error:
            raise DeadInference(f"no plan can be started: {described(error)}") from error

    def _is_dead(self) -> bool:
        """Whether the source has died or hangs."""
        if not self._source.alive:
            return True
        pending = [(self._coming, self._dead_after), (self._warming, WARM_UP_SECONDS)]
        now = time.perf_counter()
        return any(asked and not asked[0].done() and now - asked[1] > patience for asked, patience in pending)

    def _still_warming(self) -> bool:
        """Whether a restarted source has not made its first plans yet.

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
            raise DeadInference(f"the source of plans was restarted, and has made no plan for {waited:.0f} s")
        return True

    def _join_arrived(self) -> Replan | None:
        if self._coming is None or not self._coming[0].done():
            return None
        (future, _), self._coming = self._coming, None
        try:
            _raise_if_failed(future, "the source of plans has died")
        except (ValueError, DeadInference):
            self._robot.forget()
            raise
        chunk = future.result()
        lateness = self._robot.take(chunk)
        return Replan(chunk.stats, lateness, chunk.actions, ago=lateness)

    def _check_late(self) -> bool:
        """Whether a chunk has become late in this control step."""
        if self._coming is None:
            return False
        silent = time.perf_counter() - self._coming[1]
        if silent > self._dead_after:
            raise DeadInference(f"no plan has arrived for {silent:.1f} s")
        if not self._robot.overdue or self._missed_this:
            return False
        self._missed_this = True
        if self._late == "stop":
            raise LatePlan(f"a chunk had not arrived {1000 * silent:.0f} ms after its request, when it was due")
        return True


def _raise_if_failed(future: "Future[Chunk]", what: str) -> None:
    """Raises the error of a finished request, if it failed.

    Raises:
        ValueError: the request cannot be planned.
        DeadInference: the source has failed; the message begins with `what`.
    """
    error = CancelledError() if future.cancelled() else future.exception()
    if isinstance(error, ValueError):
        raise error
    if error is not None:
        raise DeadInference(f"{what}: {described(error)}") from error
