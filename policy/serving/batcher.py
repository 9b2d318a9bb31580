"""Plans for several clients at once, beside the event loop."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from paradp.policy.requests import Chunk, PlanRequest

PlanAll = Callable[[Sequence[PlanRequest]], list[Chunk]]


class Busy(Exception):
    """As many requests wait as there may."""


@dataclass(frozen=True)
class Waiting:
    """A request, when it came, and who waits for its chunk."""

    request: PlanRequest
    since: float
    answer: "asyncio.Future[Chunk]"


class Batcher:
    """Makes plans in a thread of its own: whatever waits when the network is free is one batch.

    Clients do not notice each other but by time: noise is each request's own, and one whose plan fails fails alone. What a
    network computes may differ in its last bits with the batch.

    Args:
        plan: makes the plans of a batch.
        most_together: clients in a batch.
        most_waiting: requests that may wait for the next batches; more are refused.
        on_batch: told of every batch: how many plans it has, and the seconds that the longest of them waited.
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
        self._on_batch = on_batch
        self._queue: asyncio.Queue[Waiting] = asyncio.Queue(most_waiting)
        self._thread = ThreadPoolExecutor(1, "plans")

    @property
    def waiting(self) -> int:
        """Requests that no batch has taken yet."""
        return self._queue.qsize()

    async def submit(self, request: PlanRequest) -> Chunk:
        """The plan for a request.

        Raises:
            Busy: too many wait.
            ValueError: there is no plan that is finite.
        """
        waiting = Waiting(request, time.perf_counter(), asyncio.get_running_loop().create_future())
        try:
            self._queue.put_nowait(waiting)
        except asyncio.QueueFull:
            raise Busy(f"{self._queue.maxsize} requests are waiting; try again later") from None
        return await waiting.answer

    async def run(self) -> None:
        """Makes batches until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._queue.get()]
            while len(batch) < self._most_together and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            # A client that has gone waits for nothing.
            if batch := [waiting for waiting in batch if not waiting.answer.done()]:
                self._on_batch(len(batch), time.perf_counter() - batch[0].since)
                answers = await loop.run_in_executor(self._thread, self._plans, [waiting.request for waiting in batch])
                for waiting, answer in zip(batch, answers, strict=True):
                    _deliver(waiting.answer, answer)

    def close(self) -> None:
        """Ends the thread, after the batch it is at."""
        self._thread.shutdown(wait=True)

    def _plans(self, requests: Sequence[PlanRequest]) -> "list[Chunk | Exception]":
        """A chunk or what was wrong for each request; where plans fail together, each is made alone."""
        answers: dict[int, Chunk | Exception] = {}
        # A budget ends all plans of a solve: only those that have the same are made together.
        for budget in dict.fromkeys(request.budget for request in requests):
            mine = [i for i, request in enumerate(requests) if request.budget == budget]
            answers |= zip(mine, self._plans_alike([requests[i] for i in mine]), strict=True)
        return [answers[i] for i in range(len(requests))]

    def _plans_alike(self, requests: Sequence[PlanRequest]) -> "list[Chunk | Exception]":
        try:
            return list(self._plan(requests))
        except Exception as error:
            if len(requests) == 1:
                return [error]
            return [answer for request in requests for answer in self._plans_alike([request])]


def _deliver(future: "asyncio.Future[Chunk]", answer: "Chunk | Exception") -> None:
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
