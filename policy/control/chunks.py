"""Which action is executed when: chunks that arrive some control steps after they were asked for."""

from collections import deque
from typing import Literal

import numpy as np

from paradp.policy.control.blending import blended

# What a robot does that has executed Ta actions and has no other chunk yet.
AtTheEnd = Literal["hold", "continue-chunk"]
# Chunks whose lateness says how early the next is asked for.
REMEMBERED = 8


class ChunkQueue:
    """Joins each chunk to what the robot has done since the observation that it was planned from.

    A chunk begins with the action for its own observation. What was executed in between is counted, never estimated: that
    many of its actions are past and are dropped. A robot that held still has not moved along, and gets the chunk from its
    first action on.

    In a control step: `give` a chunk that has arrived, `ask` for one if `wants_chunk`, then `next`.

    Args:
        execute: Ta, actions of a chunk until the next should take over.
        ahead: ask early enough that the next chunk, if it is as late as the latest of the last `REMEMBERED`, arrives after
            Ta actions. Otherwise a chunk is asked for when Ta actions are executed.
        at_the_end: where that was not early enough, the rest of the chunk is executed as far as it goes
            (`continue-chunk`), or the robot waits (`hold`).
        blend: begin a chunk with what is left of the last one, whose weight falls; otherwise it takes over at once.
    """

    def __init__(self, execute: int, ahead: bool, at_the_end: AtTheEnd = "hold", blend: bool = False):
        self._execute = execute
        self._ahead = ahead
        self._keeps_rest = at_the_end == "continue-chunk"
        self._blend = blend
        self.consumed = 0
        self.step = 0
        self._since_join = 0
        self._ask_after = 0
        self._due: int | None = None
        self._actions: deque[np.ndarray] = deque()
        self._asked: tuple[int, int] | None = None
        self._latenesses: deque[int] = deque(maxlen=REMEMBERED)
        self._taken: np.ndarray | None = None

    @property
    def expected_lateness(self) -> int:
        """Control steps that the next chunk may take: as many as any of the last ones."""
        return max(self._latenesses, default=0)

    @property
    def wants_chunk(self) -> bool:
        return self._asked is None and (not self._actions or self._since_join >= self._ask_after)

    @property
    def overdue(self) -> bool:
        """Whether Ta actions of a chunk, or all that it had left, are executed, and the one asked for is not there."""
        return self._asked is not None and self._due is not None and self._since_join >= self._due

    @property
    def left(self) -> int:
        """Actions of the present chunk that are still there."""
        return len(self._actions)

    @property
    def asked_at(self) -> int:
        """How many actions had been executed when the chunk under way was asked for."""
        assert self._asked is not None
        return self._asked[1]

    def ask(self) -> None:
        """Notes that a chunk is asked for from the present observation."""
        self._asked = self.step, self.consumed

    def give(self, actions: np.ndarray) -> int:
        """Goes over to the chunk `[K, A]` that was asked for; returns how many control steps ago that was."""
        assert self._asked is not None
        lateness, executed = self.step - self._asked[0], self.consumed - self._asked[1]
        rest = blended(self._actions, actions[executed:]) if self._blend else actions[executed:]
        self._actions = deque(rest if self._keeps_rest else rest[: self._execute])
        # A late chunk may have fewer than Ta actions left.
        self._due = min(self._execute, len(rest))
        self._latenesses.append(lateness)
        self._ask_after = self._due - (self.expected_lateness if self._ahead else 0)
        self._since_join, self._asked = 0, None
        return lateness

    def forget(self) -> None:
        """Gives up the chunk that was asked for."""
        self._asked = None

    def next(self) -> np.ndarray | None:
        """The action `[A]` of this control step, or `None` if there is none to execute."""
        self.step += 1
        self._taken = self._actions.popleft() if self._actions else None
        if self._taken is not None:
            self.consumed += 1
            self._since_join += 1
        return self._taken

    def take_back(self) -> None:
        """The action that `next` gave was not executed: it is the next one again."""
        if self._taken is not None:
            self._actions.appendleft(self._taken)
            self.consumed -= 1
            self._since_join -= 1
            self._taken = None
