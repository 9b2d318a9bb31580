"""Runs a solve as a sequence of rounds."""

import math
from collections.abc import Callable

from torch import Tensor

from paradp.sampler.noise import NoisePath
from paradp.sampler.rounds.base import Rounds, Watch
from paradp.sampler.rounds.captured import Graphs
from paradp.sampler.solution import Denoiser, Solution


def run(
    solver: object,
    make: Callable[[bool], Rounds],
    denoiser: Denoiser,
    condition: Tensor,
    noise: NoisePath,
    guess: Tensor | None = None,
    deadline: float = math.inf,
) -> Solution:
    """Runs rounds until all environments are finished, or another round would exceed the deadline.

    Args:
        solver: the solver.
        make: creates its rounds for these inputs.
        denoiser, condition, noise, guess, deadline: as in `Solver.solve`.
    """
    graphs: Graphs | None = getattr(denoiser, "graphs", None)
    if graphs is None:
        rounds = make(False)
        rounds.load(condition, noise, guess)
        return _finish(rounds, deadline)
    with graphs.lock:
        rounds, captured = graphs.load(solver, lambda: make(True), condition, noise, guess)
        if captured is None:
            return _finish(rounds, deadline)
        return captured.solve(condition, noise, guess, deadline)


def _finish(rounds: Rounds, deadline: float) -> Solution:
    """Runs rounds one by one, and checks after each whether all environments are finished."""
    rounds.deadline = deadline
    watch = Watch(deadline)
    for index in range(rounds.most):
        if index >= rounds.least and rounds.arrived():
            return rounds.result(done=True)
        if watch.over(wait=rounds.arrived):
            break
        rounds.advance()
    return rounds.result(done=rounds.arrived())
