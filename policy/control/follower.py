"""What every controller over a receding horizon has in common: what a robot has seen, and the chunks that it executes."""

from collections import deque

import numpy as np

from paradp.policy.choices import Blending
from paradp.policy.control.blending import soft_mask
from paradp.policy.control.chunks import AtTheEnd, ChunkQueue
from paradp.policy.control.controller import Command, Hold, Replan
from paradp.policy.observations import Observation, read_observation, stack
from paradp.policy.requests import Chunk, carried_on
from paradp.policy.spec import Interface


class ChunkFollower:
    """One robot's: the observed steps, the chunk in execution, and what the next plan should know of it.

    In a control step: `observe`, `take` a chunk that has arrived, `ask` for one if `wants_chunk`, then `next`.

    Args:
        spec: what the policy was trained for.
        execute: Ta; the checkpoint's own if `None`.
        ahead, at_the_end: see `ChunkQueue`.
        blending: how a chunk takes over from the one before, see `paradp.policy.control.blending`.
        hold: what the robot is told where there is nothing to execute; not needed where every chunk is there at once.

    Raises:
        ValueError: `execute` is not among the predicted steps.
    """

    def __init__(
        self, spec: Interface, execute: int | None, ahead: bool, at_the_end: AtTheEnd, blending: Blending, hold: Hold | None
    ):
        self.spec = spec
        self._blending = blending
        self._hold = hold
        self._history: deque[Observation] = deque(maxlen=spec.horizons.observe)
        self._queue = ChunkQueue(spec.horizons.with_execute(execute).execute, ahead, at_the_end, blend=blending == "blend")
        self._last_plan: tuple[np.ndarray, int] | None = None
        self._last: np.ndarray | None = None
        self._before: np.ndarray | None = None

    def observe(self, observation: Observation) -> None:
        """Takes in the observation of a control step; the first of an episode also stands for those before it.

        Raises:
            ValueError: it cannot be read.
        """
        read = read_observation(self.spec, observation)
        self._history.extend([read] * (1 if self._history else self.spec.horizons.observe))

    @property
    def history(self) -> Observation:
        """The observed steps, oldest first: of every feature `[To, *shape]`."""
        return stack(self._history)

    @property
    def guess(self) -> np.ndarray | None:
        """What the last plan says of the time that the next one is for, its end held, `[H, A]`; `None` without a plan."""
        if self._last_plan is None:
            return None
        whole, consumed = self._last_plan
        return carried_on(whole, self._queue.consumed - consumed)

    @property
    def keep(self) -> np.ndarray | None:
        """How much of the guess the next plan must keep, `[H]`; `None` for nothing."""
        if self._blending != "inpaint" or self._last_plan is None:
            return None
        horizons = self.spec.horizons
        return soft_mask(horizons.predict, horizons.observe - 1, self._queue.expected_lateness, self._queue.left)

    @property
    def step(self) -> int:
        """The control step, counted from the episode's first."""
        return self._queue.step

    @property
    def wants_chunk(self) -> bool:
        return self._queue.wants_chunk

    @property
    def overdue(self) -> bool:
        """Whether a chunk should have taken over and is not there, see `ChunkQueue`."""
        return self._queue.overdue

    def ask(self) -> None:
        """Notes that a chunk is asked for from the present observation."""
        self._queue.ask()

    def forget(self) -> None:
        """Gives up the chunk that was asked for."""
        self._queue.forget()

    def take(self, chunk: Chunk) -> int:
        """Goes over to the chunk that was asked for; returns how many control steps ago that was."""
        # Copies: whoever made the chunk may use its memory again.
        self._last_plan = chunk.whole.copy(), self._queue.asked_at
        return self._queue.give(chunk.actions.copy())

    def next(self, observation: Observation, replan: Replan | None, late: bool = False) -> Command:
        """What the robot does in this control step."""
        action = self._queue.next()
        held = action is None
        if action is None:
            assert self._hold is not None
            # Copies both ways: `hold` may write to what it is given, or return part of the observation.
            action = np.array(self._hold(None if self._last is None else self._last.copy(), observation))
        self._before, self._last = self._last, action
        return Command(action, replan, held, late)

    def take_back(self) -> None:
        """The last command was not carried out: its action is the next one again."""
        self._queue.take_back()
        self._last = self._before
