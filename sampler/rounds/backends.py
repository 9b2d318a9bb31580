"""Which code computes a solver's rounds."""

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

# In the order of preference; each is a package beside this file, and needs the package of its name.
BACKENDS = ("numba", "triton", "torch")
_wanted: ContextVar[tuple[str, ...]] = ContextVar("wanted", default=BACKENDS)


class RoundsBackend(Protocol):
    """What the package of a backend holds.

    Attributes:
        ROUNDS: by class of solver, its subclasses included, the class that computes its rounds; called as `make_rounds` is.
    """

    ROUNDS: Mapping[type, Callable[..., Rounds]]

    def computes(self, solver: Any, noise: NoisePath, whole: bool) -> bool:
        """Whether it can make the rounds of a solver in `ROUNDS` on such noise; arguments as of `make_rounds`."""
        ...


def make_rounds(solver: Solver, denoiser: Denoiser, condition: Tensor, noise: NoisePath, whole: bool) -> Rounds:
    """The rounds of a solve, by the first backend that can compute them.

    Args:
        solver, denoiser, condition, noise: of the solve.
        whole: as in `Rounds`.

    Raises:
        ValueError: no backend can.
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
    """Solves in this block take these backends alone, as in tests that hold one to another.

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
    """A backend, or `None` where the package that it needs is not installed."""
    return None if find_spec(name) is None else import_module(f"paradp.sampler.rounds.{name}")  # type: ignore[return-value]
