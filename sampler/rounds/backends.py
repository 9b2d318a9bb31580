"""Chooses the backend that computes a solver's rounds."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from torch import Tensor

from paradp.sampler.noise import NoisePath
from paradp.sampler.rounds.base import Rounds
from paradp.sampler.solution import Denoiser, Solver

# In order of preference. Each is a package in this folder, and requires the Python package of the same name.
BACKENDS = ("numba", "triton", "torch")
_wanted: ContextVar[tuple[str, ...]] = ContextVar("wanted", default=BACKENDS)


class RoundsBackend(Protocol):
    """The contents of a backend's package.

    Attributes:
        ROUNDS: class of a solver (or a base class) → class that computes its rounds, called like `make_rounds`.
    """

    ROUNDS: Mapping[type, Callable[..., Rounds]]

    def computes(self, solver: Any, noise: NoisePath, whole: bool) -> bool:
        """Whether it supports the solver and the noise; arguments as in `make_rounds`."""
        ...


def make_rounds(solver: Solver, denoiser: Denoiser, condition: Tensor, noise: NoisePath, whole: bool) -> Rounds:
    """Creates the rounds of a solve with the first backend that supports it.

    Args:
        solver, denoiser, condition, noise: the inputs of the solve.
        whole: as in `Rounds`.

    Raises:
        ValueError: no backend supports it.
    """
    for name in _wanted.get():
        backend = _load(name)
        if backend is None:
            continue
        rounds = next((backend.ROUNDS[kind] for kind in type(solver).__mro__ if kind in backend.ROUNDS), None)
        if rounds is not None and backend.computes(solver, noise, whole):
            return rounds(solver, denoiser, condition, noise, whole)
    raise ValueError(f"none of the backends {', '.join(_wanted.get())} computes the rounds of {type(solver).__name__} here")


@contextmanager
def only(*names: str) -> Iterator[None]:
    """A context in which solves only use these backends, for tests that compare backends.

    Raises:
        ValueError: a name is unknown.
    """
    for name in names:
        if name not in BACKENDS:
            raise ValueError(f"unknown backend {name!r}; there are: {', '.join(BACKENDS)}")
    token = _wanted.set(names)
    try:
        yield
    finally:
        _wanted.reset(token)


@cache
def _load(name: str) -> RoundsBackend | None:
    """Imports a backend; `None` if the package that it requires is not installed."""
    return None if find_spec(name) is None else import_module(f"paradp.sampler.rounds.{name}")  # type: ignore[return-value]
