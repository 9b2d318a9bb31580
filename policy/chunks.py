"""Which action is executed when: chunks that arrive some control steps after they were asked for."""

from collections import deque
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class _Coming:
    """A chunk on its way: `consumed` actions had been executed when it was asked for, `lateness` steps before it arrives."""

    actions: np.ndarray
    arrives: int
    consumed: int
    lateness: int


class ChunkQueue:
    """Joins each chunk to what the robot has done since the observation that it was planned from.

    A chunk begins with the action for its own observation. What was executed in between is counted, never estimated: that
    many of its actions are past and are dropped. A robot that held still has not moved along, and gets the chunk from its
    first action on.

    Args:
        execute: Ta, actions of a chunk until the next is asked for.
        ahead: ask early enough that the next chunk, if it is as late as the last one, arrives after Ta actions; meanwhile
            the rest of the chunk at hand is executed. Otherwise a chunk is asked for when Ta actions are executed, and the
            robot waits for it.
    """

    def __init__(self, execute: int, ahead: bool):
        self._execute = execute
        self._ahead = ahead
        self.consumed = 0
        self._step = 0
        self._since_join = 0
        self._ask_after = 0
        self._actions: deque[np.ndarray] = deque()
        self._coming: _Coming | None = None

    @property
    def wants_chunk(self) -> bool:
        if self._coming is not None:
            return False
        return not self._actions or self._since_join >= self._ask_after

    def give(self, actions: np.ndarray, lateness: int) -> None:
        """Takes a chunk `[K, A]` planned from the present observation, to arrive in `lateness` control steps."""
        self._coming = _Coming(actions, self._step + lateness, self.consumed, lateness)
        self.join_arrived()

    def next(self) -> np.ndarray | None:
        """The action `[A]` of this control step, or `None` if there is none to execute."""
        self._step += 1
        if not self._actions:
            return None
        self.consumed += 1
        self._since_join += 1
        return self._actions.popleft()

    def join_arrived(self) -> None:
        """Goes over to a chunk that has arrived; to be called as each control step begins."""
        coming = self._coming
        if coming is None or self._step < coming.arrives:
            return
        rest = coming.actions[self.consumed - coming.consumed :]
        self._actions = deque(rest if self._ahead else rest[: self._execute])
        # A late chunk may have fewer than Ta actions left.
        self._ask_after = min(self._execute, len(rest)) - (coming.lateness if self._ahead else 0)
        self._since_join, self._coming = 0, None
