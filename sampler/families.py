"""The table of samplers: kinds of steps, and solvers that compute them. Needs no PyTorch."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from paradp.sampler.options import Draft, Extension, Spacing, Split, Start, Timesteps
from paradp.sampler.plugins import load_plugin, plugins

if TYPE_CHECKING:
    from paradp.sampler.solution import Solver

# The entry points of other packages' solvers: each is a `Way`, and its name is what samplers' names begin with.
GROUP = "paradp.solvers"
Options = Mapping[str, Callable[[str], Any]]
_GRID: Options = {"spacing": str, "timesteps": Timesteps.read}
_PICARD: Options = {"window": int, "tolerance": float, "split": str, "extension": str, "anderson": int, "max-rounds": int}
_SPECULATIVE: Options = {
    "window": int,
    "ahead": int,
    "draft": str,
    "data-variance": float,
    "start": str,
    "max-rounds": int,
}
# An option's older spelling → today's. The older one is still accepted, with a note.
RENAMED_OPTIONS: Mapping[str, str] = {"gain": "data-variance"}
# The allowed values of options; the solvers check them.
CHOICES: Mapping[str, tuple[str, ...]] = {
    "split": get_args(Split),
    "extension": get_args(Extension),
    "draft": get_args(Draft),
    "start": get_args(Start),
    "spacing": get_args(Spacing),
}


def read_bound(text: str) -> float:
    """Reads a bound of `auto-fast`.

    Raises:
        ValueError: it is not a number of at least 0.
    """
    if not 0 <= (bound := float(text)) < math.inf:
        raise ValueError("a bound is at least 0")
    return bound


# Bounds on the difference of `auto-fast` from DDPM's plans; for meaning and defaults see `paradp.policy.fidelity.Bounds`.
_BOUNDS: Options = {"energy": read_bound, "coverage": read_bound, "spread": read_bound}


@dataclass(frozen=True)
class Kind:
    """A kind of steps; `paradp.sampler.builders` maps it to the function that builds its table.

    Attributes:
        summary: a description for `--help`.
        options: option → parser of its value.
        spacing: default spacing of N timesteps; `None` for the scheduler's own.
        bare: whether the name may be used without a number, for all timesteps of the training.
        noise: whether the steps add noise.
    """

    summary: str
    options: Options
    spacing: Spacing | None = None
    bare: bool = False
    noise: Literal["always", "with eta", "never"] = "always"


@dataclass(frozen=True)
class Way:
    """A way to compute the steps; `paradp.sampler.builders` maps those of paradp to their solvers.

    Attributes:
        summary, options, spacing: as in `Kind`; this spacing overrides that of the kind.
        keeps: whether it has exactly the distribution of sequential sampling with the same steps, or within a tolerance.
        needs_noise: whether the steps must add noise.
        solver: makes the solver from a step table and the options as keyword arguments; for a way of your own.
    """

    summary: str
    options: Options = field(default_factory=dict)
    spacing: Spacing | None = None
    keeps: Literal["exactly", "within a tolerance"] = "within a tolerance"
    needs_noise: bool = False
    solver: "Callable[..., Solver] | None" = None


KINDS: Mapping[str, Kind] = {
    "ddpm": Kind("DDPM on all timesteps of the training, or on N of them", _GRID, "trailing", bare=True),
    "ddim": Kind("DDIM with N steps", {"eta": float, **_GRID}, noise="with eta"),
    "dpm-solver": Kind("DPM-Solver++(2M) with N steps", _GRID, noise="never"),
    "sde-dpm-solver": Kind("SDE-DPM-Solver++(2M), which adds noise, with N steps", {"eta": float, **_GRID}, "trailing"),
    "consistency": Kind("multistep consistency sampling of a distilled policy with N steps", _GRID, "trailing"),
    "flow": Kind(
        "Euler's method along the flow of a flow policy with N steps", {"timesteps": Timesteps.read}, noise="never"
    ),
}
# Prefix of a sampler's name → way.
WAYS: dict[str, Way] = {
    "": Way("one step after another", keeps="exactly"),
    "para-": Way("in parallel, within a tolerance (as ParaDiGMS: window 20, tolerance 0.1)", _PICARD),
    "speculative-": Way(
        "in parallel, with exactly the sequential sampler's distribution (window 20)",
        _SPECULATIVE,
        "trailing",
        keeps="exactly",
        needs_noise=True,
    ),
}


@dataclass(frozen=True)
class SamplerFamily:
    """A named way to sample.

    Attributes:
        summary: a description, for `--help` and errors.
        kind, way: the steps, and how they are computed; unused by `auto` and `auto-fast`.
        bounds: options of `auto-fast`.
    """

    summary: str
    kind: str | None = None
    way: str = ""
    bounds: Options = field(default_factory=dict)

    @property
    def measured(self) -> bool:
        """Whether autotuning chooses the sampler: true for `auto` and `auto-fast`."""
        return self.kind is None

    @property
    def exact(self) -> bool:
        """Whether samples have exactly the distribution of sequential sampling with the same steps; for `auto`, of DDPM.

        False for `auto-fast`, which may take other steps.
        """
        return not self.bounds and WAYS[self.way].keeps == "exactly"

    @property
    def needs_eta(self) -> bool:
        """Whether it works only with the option eta above 0."""
        return self.kind is not None and KINDS[self.kind].noise == "with eta" and WAYS[self.way].needs_noise

    @property
    def options(self) -> Options:
        """Option → parser of its value."""
        return self.bounds if self.kind is None else {**KINDS[self.kind].options, **WAYS[self.way].options}

    @property
    def bare(self) -> bool:
        """Whether its name may be used without a number of steps."""
        return self.kind is None or KINDS[self.kind].bare

    @property
    def numbered(self) -> bool:
        """Whether its name may end in a number of steps."""
        return self.kind is not None

    @property
    def spacing(self) -> Spacing | None:
        """Default spacing of N timesteps; `None` for the scheduler's own."""
        return None if self.kind is None else WAYS[self.way].spacing or KINDS[self.kind].spacing


SAMPLERS: dict[str, SamplerFamily] = {
    "auto": SamplerFamily("the fastest here that draws from exactly DDPM's distribution, in parallel or not"),
    "auto-fast": SamplerFamily(
        "the fastest here whose plans were measured to be within bounds of DDPM's (`paradp fidelity`)", bounds=_BOUNDS
    ),
}


def register_solver(name: str, way: Way) -> None:
    """Adds the samplers `NAME-ddpm`, `NAME-ddim-N`, …: every kind of steps, solved in a way of your own.

    In this process; an entry point of the group `paradp.solvers` does it in every process.

    Raises:
        ValueError: the name, or that of one of its samplers, is taken.
    """
    if f"{name}-" in WAYS:
        raise ValueError(f"two solvers have the name {name!r}")
    _add(f"{name}-", way)


def _add(prefix: str, way: Way) -> None:
    added = {
        prefix + name: SamplerFamily(f"{kind.summary}, {way.summary}", name, prefix)
        for name, kind in KINDS.items()
        if kind.noise != "never" or not way.needs_noise
    }
    if taken := added.keys() & SAMPLERS.keys():
        raise ValueError(f"a solver cannot be named {prefix.removesuffix('-')!r}: there is a sampler {min(taken)!r}")
    WAYS[prefix] = way
    SAMPLERS.update(added)


for _prefix, _way in dict(WAYS).items():
    _add(_prefix, _way)


def find_family(name: str) -> SamplerFamily | None:
    """The family of that name, of an installed package's solver too; `None` if there is none.

    Raises:
        ValueError: an installed package's solver cannot be imported.
    """
    if name not in SAMPLERS:
        for solver in plugins(GROUP):
            if name.startswith(f"{solver}-") and f"{solver}-" not in WAYS:
                register_solver(solver, load_plugin(GROUP, solver, Way))
    return SAMPLERS.get(name)


def all_samplers() -> dict[str, SamplerFamily]:
    """Every family by its name, those of installed packages' solvers too.

    Raises:
        ValueError: an installed package's solver cannot be imported.
    """
    for solver in plugins(GROUP):
        find_family(f"{solver}-")
    return SAMPLERS


def typed(family: str) -> list[str]:
    """The forms of a family's name: `ddpm` and `ddpm-N`, `ddim-N`, `auto`."""
    return [family] * SAMPLERS[family].bare + [f"{family}-N"] * SAMPLERS[family].numbered


def sampler_names() -> list[str]:
    """The names of all samplers: `ddpm`, `ddpm-N`, `ddim-N`, …"""
    return [name for family in all_samplers() for name in typed(family)]
