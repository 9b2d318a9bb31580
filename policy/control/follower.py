"""The state of one robot under receding-horizon control: its recent observations and the chunk in execution."""

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
    """Keeps one robot's recent observations and its chunk, and prepares the inputs of the next plan.

    In each control step call `observe`, `take` if a chunk has arrived, `ask` if `wants_chunk`, and then `next`.

    Args:
        spec: the policy's specification.
        execute: Ta; the checkpoint's own if `None`.
        ahead, at_the_end: see `ChunkQueue`.
        blending: how a chunk takes over from the one before, see `paradp.policy.control.blending`.
        hold: returns the command for steps without an action; not needed if plans take no time.

    Raises:
        ValueError: `execute` exceeds the predicted steps.
    """

    def __init__(
        self, spec: Interface, execute: int | None, ahead: bool, at_the_end: AtTheEnd, blending: Blending, hold: Hold | None
    ):
        self.spec = spec
        self._blending = blending
        self._hold = hold
        self._images = {key for key, feature in spec.observed.items() if feature.kind == "image"}
        self._history: deque[Observation | None] = deque(maxlen=spec.horizons.observe)
        self._queue = ChunkQueue(spec.horizons.with_execute(execute).execute, ahead, at_the_end, blend=blending == "blend")
        self._last_plan: tuple[np.ndarray, int] | None = None
        self._last: np.ndarray | None = None
        self._before: np.ndarray | None = None

    def observe(self, observation: Observation, may_be_blind: bool = False) -> None:
        """Records the observation of a control step. The first one of an episode also fills the history before it.

        Args:
            observation: the observation.
            may_be_blind: whether images may be missing in an observation that no plan `looks` at.

        Raises:
            ValueError: the observation is invalid.
        """
        blind = may_be_blind and not self.looks and self._images and self._images.isdisjoint(observation)
        read = None if blind else read_observation(self.spec, observation)
        self._history.extend([read] * (1 if self._history else self.spec.horizons.observe))

    @property
    def history(self) -> Observation:
        """The last To observations, oldest first: `[To, *shape]` for each feature."""
        seen = [observation for observation in self._history if observation is not None]
        assert len(seen) == self.spec.horizons.observe, "a plan needs an observation whose images are missing"
        return stack(seen)

    @property
    def looks(self) -> bool:
        """Whether a plan may be made from the next observation."""
        return self._queue.soonest < self.spec.horizons.observe

    @property
    def guess(self) -> np.ndarray | None:
        """The last plan, shifted to the start of the next one and padded with its last action, `[H, A]`; `None` if none."""
        if self._last_plan is None:
            return None
        whole, consumed = self._last_plan
        return carried_on(whole, self._queue.consumed - consumed)

    @property
    def keep(self) -> np.ndarray | None:
        """The weight of the guess in the next plan at each step, `[H]`, see `soft_mask`; `None` for no constraint."""
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
        """Whether the next chunk is late, see `ChunkQueue`."""
        return self._queue.overdue

    def ask(self) -> None:
        """Records that a chunk was requested for the current observation."""
        self._queue.ask()

    def forget(self) -> None:
        """Cancels the request for a chunk."""
        self._queue.forget()

    def take(self, chunk: Chunk) -> int:
        """Switches to the requested chunk; returns the number of control steps since the request."""
        # Copies: the source may reuse the memory of the chunk.
        self._last_plan = chunk.whole.copy(), self._queue.asked_at
        return self._queue.give(chunk.actions.copy())

    def next(self, observation: Observation, replan: Replan | None, late: bool = False) -> Command:
        """The command for this control step."""
        action = self._queue.next()
        held = action is None
        if action is None:
            assert self._hold is not None
            # Copies both ways: `hold` may modify its argument, or return a view of the observation.
            action = np.array(self._hold(None if self._last is None else self._last.copy(), observation))
        self._before, self._last = self._last, action
        return Command(action, replan, held, late)

    def take_back(self) -> None:
        """Undoes the last command, which the robot did not execute: its action comes again next."""
        self._queue.take_back()
        self._last = self._before
