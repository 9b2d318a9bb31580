"""Receding-horizon control: a new plan whenever a robot needs one, for several robots in one batch."""

from collections.abc import Sequence
from typing import Protocol

from paradp.policy.choices import Blending
from paradp.policy.control.controller import Command, Hold, Replan
from paradp.policy.control.follower import ChunkFollower
from paradp.policy.diffusion_policy import DiffusionPolicy
from paradp.policy.observations import Observation
from paradp.policy.requests import Chunk, plan_each
from paradp.sampler.lookup import renamed_arguments
from paradp.sampler.noise import noise_generator


class Clock(Protocol):
    """Simulates the latency of plans. Not needed if the simulation waits for each plan."""

    def reset(self, seed: int | None) -> None:
        """Begins an episode."""
        ...

    def lateness(self, seconds: float) -> int:
        """The number of control steps that pass during a plan of this many seconds."""
        ...


@renamed_arguments(joining="blending")
class RecedingHorizon:
    """Executes Ta actions of each plan, then plans again from the last To observations.

    Args:
        policy: plans the chunks; several controllers may share it.
        seed: for the policy's noise, until `reset` sets another.
        execute: Ta; the checkpoint's own by default.
        ahead: request the next chunk before Ta actions are executed, early enough for the latencies of the last plans.
        blending: how a chunk takes over from the one before, see `paradp.policy.control.blending`. Only with `ahead` are
            there old actions left to blend with.
        clock: simulates the latency of plans; by default they take no simulated time.
        hold: returns the command while the robot waits for a chunk; required with a clock.

    Raises:
        ValueError: `execute` exceeds the predicted steps, or there is a clock but no `hold`.
    """

    def __init__(
        self,
        policy: DiffusionPolicy,
        seed: int = 0,
        execute: int | None = None,
        ahead: bool = False,
        clock: Clock | None = None,
        hold: Hold | None = None,
        blending: Blending = "replace",
    ):
        if clock is not None and hold is None:
            raise ValueError("with a clock the robot may have to wait for a chunk: give `hold`, the command while it waits")
        self.policy = policy
        self._execute = execute
        self._ahead = ahead
        self._clock = clock
        self._hold = hold
        self._blending = blending
        self.reset(seed)

    def reset(self, seed: int | None = None) -> None:
        """Begins an episode. A seed restarts the noise; without one, the random stream continues."""
        if seed is not None:
            self.generator = noise_generator(seed)
        if self._clock is not None:
            self._clock.reset(seed)
        self.robot = ChunkFollower(
            self.policy.spec,
            self._execute,
            self._ahead,
            "continue-chunk" if self._ahead else "hold",
            self._blending,
            self._hold,
        )
        self._coming: tuple[Chunk, int] | None = None

    @property
    def looks(self) -> bool:
        """Whether a plan may be made from the next observation; if not, its images may be left out."""
        return self.robot.looks

    def act(self, observation: Observation) -> Command:
        """The next action; makes a plan first if a new chunk is needed."""
        return act_together([self], [observation])[0]

    def observe(self, observation: Observation) -> None:
        """Records the observation of a control step, and starts a chunk that arrives in it; see `looks`."""
        self.robot.observe(observation, may_be_blind=True)
        self._take_arrived()

    def take(self, chunk: Chunk) -> Replan:
        """Accepts a plan made from the current observation; it arrives after the latency that the clock gives."""
        lateness = 0 if self._clock is None else self._clock.lateness(chunk.stats.timing.seconds)
        self.robot.ask()
        self._coming = chunk, self.robot.step + lateness
        self._take_arrived()
        return Replan(chunk.stats, lateness, chunk.actions)

    def _take_arrived(self) -> None:
        if self._coming is not None and self.robot.step >= self._coming[1]:
            self.robot.take(self._coming[0])
            self._coming = None


def act_together(controllers: Sequence[RecedingHorizon], observations: Sequence[Observation]) -> list[Command]:
    """One control step of several environments. All plans that are needed are made in one batch.

    Raises:
        ValueError: the controllers do not share one policy.
    """
    if any(c.policy is not controllers[0].policy for c in controllers):
        raise ValueError("controllers that act together must share one policy")
    for controller, observation in zip(controllers, observations, strict=True):
        controller.observe(observation)
    waiting = [c for c in controllers if c.robot.wants_chunk]
    replans: dict[int, Replan] = {}
    if waiting:
        robots = [c.robot for c in waiting]
        chunks = plan_each(
            waiting[0].policy,
            [robot.history for robot in robots],
            [c.generator for c in waiting],
            [robot.guess for robot in robots],
            [robot.keep for robot in robots],
        )
        replans = {id(c): c.take(chunk) for c, chunk in zip(waiting, chunks, strict=True)}
    return [c.robot.next(o, replans.get(id(c))) for c, o in zip(controllers, observations, strict=True)]
