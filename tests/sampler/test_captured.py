"""Solves that launch a round before the host knows the last one's result, on a device that executes late."""

import gc
from random import Random

import pytest
import torch
from late import LateDevice, LateStream

from paradp.sampler import Picard, Sequential, Speculative, Status, step_table
from paradp.sampler.rounds import base
from paradp.sampler.rounds.backends import make_rounds, only
from paradp.sampler.rounds.captured import Graphs

SOLVERS = {
    "sequential": Sequential,
    "unit": lambda table: Picard(table, 8),
    "linear": lambda table: Picard(table, 8, 0.03, split="linear"),
    "linear, copied": lambda table: Picard(table, 5, 0.0, split="linear", extension="copy"),
    "speculative": lambda table: Speculative(table, 8),
    "speculative, not far ahead": lambda table: Speculative(table, 8, ahead=3),
    "speculative, frozen": lambda table: Speculative(table, 8, draft="frozen", data_variance=0.0),
    "speculative, budget": lambda table: Speculative(table, 8, max_rounds=6),
}
IN_ROUNDS = [name for name in SOLVERS if name != "sequential"]


@pytest.fixture
def table(config):
    """A table with few steps, because every solve is repeated many times."""
    return step_table(config, 25)


class Queued:
    """A denoiser whose rounds are launched on a late device."""

    def __init__(self, denoiser, device):
        self.graphs = Graphs(lambda _: device)
        self.calls = 0
        self._denoiser = denoiser

    def __call__(self, x, t, condition):
        self.calls += 1
        return self._denoiser(x, t, condition)


def same(one, other) -> bool:
    names = ("rounds", "evaluations", "status", "broken", "residual")
    stats = all(torch.equal(getattr(one.stats, name), getattr(other.stats, name)) for name in names)
    return stats and torch.equal(one.sample, other.sample)


def expected_of(solver, denoiser, inputs):
    """The expected result, computed by the same rounds sequentially."""
    with only("torch"):
        return solver.solve(Queued(denoiser, None), *inputs)


def needed_of(solver, denoiser, inputs) -> int:
    """The number of launched rounds: one is in progress when the host reads the last result, unless one step was left."""
    with only("torch"):
        rounds = make_rounds(solver, denoiser, *inputs[:2], True)
    rounds.load(*inputs)
    made = before = 0
    while not rounds.arrived():
        before = int(rounds.decided.min())
        rounds.advance()
        made += 1
    foreseen = made > rounds.least and before == rounds.table.steps - 1
    return min(made + (not foreseen), rounds.most)


def solves_of(solver, denoiser, table, draw, order) -> tuple[list[bool], list[int], list[int]]:
    """For several solves: whether each is right, its number of network calls and the expected number."""
    device = LateDevice(order)
    queued = Queued(denoiser, device)
    inputs = [(*draw(range(10 * i, 10 * i + 3), table), torch.full((3, 4, 2), 0.1 * i)) for i in range(4)]
    expected = [expected_of(solver, denoiser, one) for one in inputs]
    found, calls = [], []
    with only("torch"):
        for i, one in enumerate(inputs):
            device.current = i % 2  # another thread's stream, and nothing has been read meanwhile
            found.append(solver.solve(queued, *one))
    for stream in (1, 0):  # the later solve first
        device.read(stream)
    right = [same(one, other) for one, other in zip(found, expected, strict=True)]
    device.own.record().synchronize()
    before = queued.calls
    for one in inputs[1:]:
        solver.solve(queued, *one)
        device.own.record().synchronize()
        calls.append(queued.calls - before)
        before = queued.calls
    return right, calls, [needed_of(solver, denoiser, one) for one in inputs[1:]]


@pytest.mark.parametrize("seed", [None, 0, 1, 2])
@pytest.mark.parametrize("kind", SOLVERS)
def test_a_late_device_gives_the_same_samples(table, denoiser, draw, kind, seed):
    solver = SOLVERS[kind](table)
    right, calls, needed = solves_of(solver, denoiser, table, draw, None if seed is None else Random(seed))
    assert all(right)
    if kind == "sequential":
        assert calls == [table.steps] * 3
    elif "budget" in kind:
        assert calls == [6] * 3
    else:
        assert calls == needed


def no_wait(stream, event):
    """A planted fault: streams do not wait for each other."""


@pytest.mark.parametrize("kind", IN_ROUNDS)
def test_streams_that_do_not_wait_are_detected(table, denoiser, draw, kind, monkeypatch):
    monkeypatch.setattr(LateStream, "wait", no_wait)
    right, _, _ = solves_of(SOLVERS[kind](table), denoiser, table, draw, None)
    assert not all(right)


def test_a_solve_that_overwrites_an_unread_result_is_detected(table, denoiser, draw, monkeypatch):
    """The solve runs on another stream, which has not waited for the caller's."""
    wait = LateStream.wait

    def forgets(stream, event):
        if stream is not stream.device.own or event.stream is stream.device.callers():
            wait(stream, event)

    monkeypatch.setattr(LateStream, "wait", forgets)
    right, _, _ = solves_of(SOLVERS["speculative"](table), denoiser, table, draw, None)
    assert not all(right)


def test_rounds_in_progress_are_not_released(table, denoiser, draw):
    """Otherwise their memory would be reused."""
    device = LateDevice()
    queued = Queued(denoiser, device)
    with only("torch"):
        SOLVERS["speculative"](table).solve(queued, *draw(range(2), table))
    assert device.own.begun < len(device.own.work)
    for stream in (device.own, *device.streams):  # a device holds no objects of Python's
        stream.work[:] = [None] * len(stream.work)
    queued.graphs.clear()
    gc.collect()
    assert device.own.begun == len(device.own.work)


@pytest.mark.parametrize("seed", [None, 0, 1])
@pytest.mark.parametrize("kind", IN_ROUNDS)
def test_a_deadline_ends_a_solve_on_a_late_device(table, denoiser, draw, monkeypatch, kind, seed):
    """A network call takes a second, at any time when the device executes it."""
    device, seconds = LateDevice(None if seed is None else Random(seed)), [0.0]

    def slow(x, t, condition):
        seconds[0] += 1
        return denoiser(x, t, condition)

    monkeypatch.setattr(base.time, "perf_counter", lambda: seconds[0])
    solver, inputs = SOLVERS[kind](table), draw(range(8), table)
    queued, plain = Queued(slow, device), Queued(slow, None)
    with only("torch"):
        whole = solver.solve(plain, *inputs)
        most = int(whole.stats.rounds.max())
        solver.solve(queued, *inputs)
        device.own.record().synchronize()
        for budget in (1, 3, most - 1, most, most + 1):
            began = seconds[0]
            found = solver.solve(queued, *inputs, None, began + budget)
            assert seconds[0] - began == min(budget, most)  # no round is under way any more
            device.read(0)
            assert same(found, solver.solve(plain, *inputs, None, seconds[0] + budget))
            assert bool((found.stats.status == Status.OUT_OF_BUDGET).any()) == (budget < most or "budget" in kind)


@pytest.mark.parametrize("kind", IN_ROUNDS)
def test_a_round_after_the_end_changes_nothing(table, denoiser, draw, kind):
    solver = SOLVERS[kind](table)
    condition, noise = draw(range(5), table)
    with only("torch"):
        rounds = make_rounds(solver, denoiser, condition, noise, True)
    rounds.load(condition, noise, None)
    while not rounds.arrived():
        rounds.advance()
    before = state_of(rounds)
    assert len(before) > 5
    for _ in range(2):
        rounds.advance()
        after = state_of(rounds)
        assert all(torch.equal(before[name], after[name]) for name in before)


def state_of(rounds) -> dict[str, torch.Tensor]:
    """The arrays of a result."""
    found = {name: value for name, value in vars(rounds).items() if isinstance(value, torch.Tensor)}
    kept = {name: value.all for name, value in vars(rounds).items() if hasattr(value, "all") and name not in found}
    if hasattr(rounds, "guesses"):
        kept |= {"kept": rounds.guesses.kept.all, "evaluated": rounds.guesses.evaluated}
    return {name: value.clone() for name, value in (found | kept).items()}


def test_a_condition_of_another_type_has_rounds_of_its_own(table, denoiser, draw):
    solver, queued = Sequential(table), Queued(denoiser, None)
    condition, noise = draw(range(3), table)
    solver.solve(queued, condition.bfloat16(), noise)
    assert torch.equal(solver.solve(queued, condition, noise).sample, solver.solve(denoiser, condition, noise).sample)


on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: nothing can be captured")


@on_gpu
@pytest.mark.parametrize("kind", ["sequential", "linear", "speculative", "speculative, budget"])
@pytest.mark.parametrize("backend", ["triton", "torch"])
def test_consecutive_captured_solves_equal_those_of_python(table, denoiser, draw, kind, backend):
    """On alternating streams, and no result is read before all solves are launched."""
    solver, queued = SOLVERS[kind](table), Queued(denoiser, None)
    queued.graphs = Graphs()
    streams = [torch.cuda.Stream(), torch.cuda.Stream()]
    inputs = [(*draw(range(10 * i, 10 * i + 3), table), torch.full((3, 4, 2), 0.1 * i)) for i in range(6)]
    inputs = [to_gpu(*one) for one in inputs]
    torch.cuda.synchronize()
    found = []
    with only(backend):
        for i, one in enumerate(inputs):
            with torch.cuda.stream(streams[i % 2]):
                found.append(solver.solve(queued, *one))
        torch.cuda.synchronize()
        for one, solution in zip(inputs, found, strict=True):
            expected = solver.solve(denoiser, *one)
            for name in ("rounds", "evaluations", "status", "broken"):
                assert torch.equal(getattr(solution.stats, name), getattr(expected.stats, name)), name
            assert (solution.sample - expected.sample).abs().max() < 1e-9


@on_gpu
@pytest.mark.parametrize("kind", ["linear", "speculative"])
def test_a_deadline_ends_a_captured_solve(table, denoiser, draw, kind):
    solver, queued = SOLVERS[kind](table), Queued(denoiser, None)
    queued.graphs = Graphs()
    inputs = to_gpu(*draw(range(3), table), None)
    solver.solve(queued, *inputs)
    solution = solver.solve(queued, *inputs, -1.0)
    assert solution.stats.rounds.tolist() == [1, 1, 1] and solution.sample.isfinite().all()
    assert (solution.stats.status == Status.OUT_OF_BUDGET).all()


def to_gpu(condition, noise, guess):
    moved = type(noise)(*(part.cuda() for part in (noise.initial, noise.steps, noise.uniforms)))
    return condition.cuda(), moved, None if guess is None else guess.double().cuda()
