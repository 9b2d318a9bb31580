"""Batches in which some plans fail: all others are made, and together."""

import asyncio
import pickle
from dataclasses import replace

import numpy as np
import pytest

from paradp.policy.errors import NotFinite
from paradp.policy.requests import Chunk, PlanRequest, plan_together
from paradp.policy.serving.batcher import Batcher

ZEROS = {"position": np.zeros((2, 2), np.float32), "constant": np.zeros((2, 1), np.float32)}
REQUESTS = [PlanRequest(ZEROS, noise_seed=seed) for seed in range(8)]
# A finite number from which the network computes NaN.
HUGE = np.full((2, 2), 3e38, np.float32)


def planned(plan, requests: list[PlanRequest]) -> tuple[list[int], list[Chunk | Exception]]:
    """Submits all requests before the first batch; returns the sizes of all calls of `plan`, and the answers."""
    sizes = []

    def recorded(some):
        sizes.append(len(some))
        return plan(some)

    async def run() -> list[Chunk | Exception]:
        batcher = Batcher(recorded, most_together=len(requests), most_waiting=len(requests))
        waiting = asyncio.gather(*(batcher.submit(request) for request in requests), return_exceptions=True)
        await asyncio.sleep(0)
        batches = asyncio.create_task(batcher.run())
        answers = await waiting
        batches.cancel()
        batcher.close()
        return answers

    return sizes, asyncio.run(run())


@pytest.mark.parametrize(("bad", "sizes"), [([3], [8, 7]), ([0, 3, 7], [8, 5]), (range(8), [8])])
def test_plans_that_are_not_finite_do_not_slow_the_others_down(policy, bad, sizes):
    requests = list(REQUESTS)
    for row in bad:
        requests[row] = replace(requests[row], history=ZEROS | {"position": HUGE})
    recorded, answers = planned(lambda some: plan_together(policy, some), requests)
    assert recorded == sizes
    assert [row for row, answer in enumerate(answers) if isinstance(answer, ValueError)] == list(bad)
    for request, answer in zip(requests, answers, strict=True):
        if isinstance(answer, Chunk):
            alone = plan_together(policy, [request])[0]
            assert np.abs(alone.actions - answer.actions).max() < 1e-5


def test_an_error_that_names_no_rows_affects_only_its_own_request():
    def plan(some: list[PlanRequest]) -> list[int]:
        if any(request.noise_seed == 3 for request in some):
            raise RuntimeError("seed 3")
        return [request.noise_seed for request in some]

    sizes, answers = planned(plan, REQUESTS)
    assert sizes == [8, 4, 2, 2, 1, 1, 4]
    assert [answer for answer in answers if not isinstance(answer, RuntimeError)] == [0, 1, 2, 4, 5, 6, 7]


def test_the_error_keeps_its_rows_between_processes():
    error = pickle.loads(pickle.dumps(NotFinite("not finite", [3, 5])))
    assert str(error) == "not finite" and error.rows == (3, 5)
