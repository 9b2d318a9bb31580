"""Makes plans for several clients in one batch, in a thread beside the event loop."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from paradp.policy.errors import NotFinite
from paradp.policy.requests import Chunk, PlanRequest

PlanAll = Callable[[Sequence[PlanRequest]], list[Chunk]]
# Budget of a request that waited longer than its own; the solver still makes one round.
LEAST_BUDGET = 1e-6


class Busy(Exception):
    """The queue of requests is full."""


@dataclass(frozen=True)
class Waiting:
    """A request, its arrival time, and the future for its chunk."""

    request: PlanRequest
    since: float
    answer: "asyncio.Future[Chunk]"

    def request_now(self) -> PlanRequest:
        """The request with its remaining time limit, which counts from the arrival of the request."""
        if self.request.budget is None:
            return self.request
        left = self.request.budget - (time.perf_counter() - self.since)
        return replace(self.request, budget=max(left, LEAST_BUDGET))


class Batcher:
    """Makes plans in a separate thread, in batches of all requests that wait when the network becomes free.

    Clients affect each other's latency, but not each other's plans: each request has its own noise, and a request whose plan
    fails does not affect the others. A request with a time limit is planned alone, because the limit ends the whole solve.
    Predictions may differ in the last bits with the size of the batch.

    Args:
        plan: makes the plans of a batch.
        most_together: largest number of requests in a batch.
        most_waiting: largest number of waiting requests; further ones are refused.
        on_batch: called for each batch with the number of plans, and the seconds that its first request waited.
    """

    def __init__(
        self,
        plan: PlanAll,
        most_together: int,
        most_waiting: int,
        on_batch: Callable[[int, float], None] = lambda size, waited: None,
    ):
        self._plan = plan
        self._most_together = most_together
        self._most_waiting = most_waiting
        self._on_batch = on_batch
        self._queue: deque[Waiting] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "plans")

    @property
    def waiting(self) -> int:
        """Number of requests that are in no batch yet, without those of disconnected clients."""
        self._queue = deque(waiting for waiting in self._queue if not waiting.answer.done())
        return len(self._queue)

    async def submit(self, request: PlanRequest) -> Chunk:
        """Makes the plan for a request; cancel the call to give it up.

        Raises:
            Busy: too many requests wait.
            ValueError: the plan is not finite.
        """
        if self.waiting >= self._most_waiting:
            raise Busy(f"{self._most_waiting} requests are waiting; try again later")
        waiting = Waiting(request, time.perf_counter(), asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._arrived.set()
        return await waiting.answer

    async def run(self) -> None:
        """Makes batches until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            if batch := self._next_batch():
                self._on_batch(len(batch), time.perf_counter() - batch[0].since)
                requests = [waiting.request_now() for waiting in batch]
                answers = await loop.run_in_executor(self._thread, self._plans, requests)
                for waiting, answer in zip(batch, answers, strict=True):
                    _deliver(waiting.answer, answer)
            else:
                self._arrived.clear()

    def close(self) -> None:
        """Ends the thread after its current batch."""
        self._thread.shutdown(wait=True)

    def _next_batch(self) -> list[Waiting]:
        """Returns the request that has waited longest, with others that can share its solve."""
        if not self.waiting:
            return []
        head = self._queue.popleft()
        batch = [head]
        while self._queue and len(batch) < self._most_together and head.request.budget is None:
            if self._queue[0].request.budget is not None:
                break
            batch.append(self._queue.popleft())
        return batch

    def _plans(self, requests: Sequence[PlanRequest]) -> "list[Chunk | Exception]":
        """Returns a chunk or an error for each request.

        If plans are not finite, the others are made again together. If the batch fails otherwise, its halves are planned.
        """
        try:
            return list(self._plan(requests))
        except Exception as error:
            if len(requests) == 1:
                return [error]
            if isinstance(error, NotFinite) and error.rows:
                return self._plans_without(error, requests)
            half = len(requests) // 2
            return self._plans(requests[:half]) + self._plans(requests[half:])

    def _plans_without(self, error: NotFinite, requests: Sequence[PlanRequest]) -> "list[Chunk | Exception]":
        """Answers the rows of an error with it, and plans the others."""
        others = [row for row in range(len(requests)) if row not in error.rows]
        answers: list[Chunk | Exception] = [error] * len(requests)
        if others:
            for row, answer in zip(others, self._plans([requests[row] for row in others]), strict=True):
                answers[row] = answer
        return answers


def _deliver(future: "asyncio.Future[Chunk]", answer: "Chunk | Exception") -> None:
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
