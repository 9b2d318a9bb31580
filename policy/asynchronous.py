"""Control in real time: one chunk is executed while the next is planned elsewhere."""

import time
from concurrent.futures import Future
from typing import get_args

import numpy as np

from paradp.policy.choices import Joining, Late
from paradp.policy.chunks import AtTheEnd
from paradp.policy.controller import Command, Hold, Replan
from paradp.policy.follower import ChunkFollower
from paradp.policy.observations import Observation
from paradp.policy.requests import Chunk, PlanRequest
from paradp.policy.sources import PlanSource, blank_request

_SEEDS = 2**63
# To load a policy elsewhere and compile what it needs.
WARM_UP_SECONDS = 300.0


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
        joining: how a chunk joins the one before, see `paradp.policy.joining`; inpainted ones keep most success.
        budget: seconds for a plan's solver; a plan that would take longer is ended by then, not converged.
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
        joining: Joining = "inpaint",
    ):
        if late not in get_args(Late):
            raise ValueError(f"late must be one of {', '.join(get_args(Late))}, not {late!r}")
        if joining not in get_args(Joining):
            raise ValueError(f"joining must be one of {', '.join(get_args(Joining))}, not {joining!r}")
        if (budget is not None and budget <= 0) or dead_after <= 0:
            raise ValueError(f"budget and dead_after must be positive, not {budget} and {dead_after}")
        self.spec = source.spec
        self._execute = execute
        self._source = source
        self._hold = hold
        self._late = late
        self._budget = budget
        self._dead_after = dead_after
        self._joining = joining
        self._coming: tuple[Future[Chunk], float] | None = None
        self.reset(seed)

    def reset(self, seed: int | None = None) -> None:
        """Forgets the episode. With a seed, its noise is that seed's; without one, the noise goes on."""
        if seed is not None:
            self._noise = np.random.default_rng(seed)
        at_the_end: AtTheEnd = "hold" if self._late == "hold" else "continue-chunk"
        self._robot = ChunkFollower(self.spec, self._execute, True, at_the_end, self._joining, self._hold)
        if self._coming is not None:
            self._coming[0].cancel()
        self._coming = None
        self._missed_this = False

    def warm_up(self, plans: int = 3) -> float:
        """Plans a few times before the first control step; returns the seconds that the last plan took.

        Raises:
            ValueError: there is no plan.
            DeadInference: the source is dead, or takes longer than `WARM_UP_SECONDS`.
        """
        for _ in range(plans):
            began = time.perf_counter()
            try:
                self._submit(blank_request(self.spec)).result(WARM_UP_SECONDS)
            except (ValueError, DeadInference):
                raise
            except Exception as error:
                raise DeadInference(f"there are no plans: {error or type(error).__name__}") from error
        return time.perf_counter() - began

    def act(self, observation: Observation) -> Command:
        """The action of this control step.

        Raises:
            ValueError: the observation cannot be read, or the policy gave a plan that is not finite.
            LatePlan: a chunk was not there when it was due, and `late` is `stop`.
            DeadInference: the source is dead, or silent for `dead_after`.
        """
        self._robot.observe(observation)
        if not self._source.alive:
            raise DeadInference("what makes the plans has died")
        replan = self._join_arrived()
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
            raise DeadInference(f"no plan can be begun: {error or type(error).__name__}") from error

    def _join_arrived(self) -> Replan | None:
        if self._coming is None or not self._coming[0].done():
            return None
        (future, _), self._coming = self._coming, None
        try:
            chunk = future.result()
        except ValueError:
            self._robot.forget()
            raise
        except Exception as error:
            self._robot.forget()
            raise DeadInference(f"the plan's process has died: {error or type(error).__name__}") from error
        return Replan.of(chunk, self._robot.take(chunk))

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
