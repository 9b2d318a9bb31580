"""The queue of actions to execute, for chunks that arrive some control steps after they were requested."""

from collections import deque
from typing import Literal

import numpy as np

from paradp.policy.control.blending import blended

# What the robot does if Ta actions are executed and the next chunk has not arrived.
AtTheEnd = Literal["hold", "continue-chunk"]
# How many recent latencies decide how early the next chunk is requested.
REMEMBERED = 8


class ChunkQueue:
    """Executes chunks one after another, and drops the actions of a new chunk that are already in the past.

    A chunk starts with the action for the observation it was planned from. The queue counts the actions that were executed
    since that observation, and drops as many from the new chunk. While the robot holds its position no action is executed,
    so none is dropped.

    In each control step call `give` if a chunk has arrived, `ask` if `wants_chunk`, and then `next`.

    Args:
        execute: Ta, the number of actions after which the next chunk should take over.
        ahead: request early enough for the worst of the last 8 latencies (`REMEMBERED`), so that the chunk arrives after Ta
            actions. Otherwise request a chunk once Ta actions are executed.
        at_the_end: if a chunk is late, execute the rest of the current one (`continue-chunk`), or wait (`hold`).
        blend: blend the start of a chunk with the remaining actions of the last one; otherwise it takes over at once.
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
        """The expected latency of the next chunk in control steps: the largest of the last ones."""
        return max(self._latenesses, default=0)

    @property
    def wants_chunk(self) -> bool:
        return self._asked is None and self.soonest == 0

    @property
    def soonest(self) -> int:
        """The fewest control steps until the next chunk may be wanted; 0 while one is requested, for it may come late."""
        if self._asked is not None:
            return 0
        return max(0, min(self._ask_after - self._since_join, len(self._actions)))

    @property
    def overdue(self) -> bool:
        """Whether the requested chunk is late: Ta actions of the current one, or all it had, are executed."""
        return self._asked is not None and self._due is not None and self._since_join >= self._due

    @property
    def left(self) -> int:
        """The number of remaining actions of the current chunk."""
        return len(self._actions)

    @property
    def asked_at(self) -> int:
        """The number of actions executed before the pending chunk was requested."""
        assert self._asked is not None
        return self._asked[1]

    def ask(self) -> None:
        """Records that a chunk was requested for the current observation."""
        self._asked = self.step, self.consumed

    def give(self, actions: np.ndarray) -> int:
        """Switches to the requested chunk `[K, A]`; returns the number of control steps since the request."""
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
        """Cancels the request for a chunk."""
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
        """Puts back the last action of `next`, which the robot did not execute."""
        if self._taken is not None:
            self._actions.appendleft(self._taken)
            self.consumed -= 1
            self._since_join -= 1
            self._taken = None
