"""The samplers there are: kinds of steps, and ways through them. Read without PyTorch."""

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
_SPECULATIVE: Options = {"window": int, "ahead": int, "draft": str, "gain": float, "start": str, "max-rounds": int}
# The values of the options that are a choice; the solvers check them.
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
        ValueError: it is no number that is at least 0.
    """
    if not 0 <= (bound := float(text)) < math.inf:
        raise ValueError("a bound is at least 0")
    return bound


# How far `auto-fast` may be from DDPM's plans; `paradp.policy.fidelity.Bounds` has their meaning and defaults.
_BOUNDS: Options = {"energy": read_bound, "coverage": read_bound, "spread": read_bound}


@dataclass(frozen=True)
class Kind:
    """Steps of one kind; `paradp.sampler.builders` has the table that each stands for.

    Attributes:
        summary: what they are.
        options: option → how to read its value.
        spacing: of N timesteps, unless an option says otherwise; the scheduler's own where it is `None`.
        bare: whether the name may stand without a number, for all timesteps of the training.
        noise: whether they can add noise.
    """

    summary: str
    options: Options
    spacing: Spacing | None = None
    bare: bool = False
    noise: bool = True


@dataclass(frozen=True)
class Way:
    """A way through the steps; `paradp.sampler.builders` has the solver of each way that comes with paradp.

    Attributes:
        summary, options, spacing: as of a `Kind`, whose spacing yields to this one.
        keeps: the distribution of the same steps one after another, to rounding or within a tolerance.
        needs_noise: whether only steps that add noise can be taken so.
        solver: makes the solver from a step table and the options as keyword arguments; of a way of your own.
    """

    summary: str
    options: Options = field(default_factory=dict)
    spacing: Spacing | None = None
    keeps: Literal["exactly", "within a tolerance"] = "exactly"
    needs_noise: bool = False
    solver: "Callable[..., Solver] | None" = None


KINDS: Mapping[str, Kind] = {
    "ddpm": Kind("DDPM on all timesteps of the training, or on N of them", _GRID, "trailing", bare=True),
    "ddim": Kind("DDIM with N steps", {"eta": float, **_GRID}),
    "dpm-solver": Kind("DPM-Solver++(2M) with N steps", _GRID, noise=False),
    "sde-dpm-solver": Kind("SDE-DPM-Solver++(2M), which adds noise, with N steps", {"eta": float, **_GRID}, "trailing"),
    "consistency": Kind("multistep consistency sampling of a distilled policy with N steps", _GRID, "trailing"),
    "flow": Kind("Euler's method along the flow of a flow policy with N steps", {"timesteps": Timesteps.read}, noise=False),
}
# By what the name of a sampler begins with.
WAYS: dict[str, Way] = {
    "": Way("one step after another"),
    "para-": Way(
        "in parallel, within a tolerance (as ParaDiGMS: window 20, tolerance 0.1)", _PICARD, keeps="within a tolerance"
    ),
    "speculative-": Way(
        "in parallel, with exactly the distribution of one after another (window 20)",
        _SPECULATIVE,
        "trailing",
        needs_noise=True,
    ),
}


@dataclass(frozen=True)
class SamplerFamily:
    """A named way to sample.

    Attributes:
        summary: what it is, for `--help` and errors.
        kind, way: which steps, and how they are taken; neither for a family that is chosen by measuring.
        bounds: options of a family that is chosen by measuring.
    """

    summary: str
    kind: str | None = None
    way: str = ""
    bounds: Options = field(default_factory=dict)

    @property
    def measured(self) -> bool:
        """Whether it stands for whichever sampler turns out to be fastest."""
        return self.kind is None

    @property
    def exact(self) -> bool:
        """Whether samples have exactly the distribution of those by the same steps one after another; of a measured family,
        of DDPM's. Bounds allow other steps."""
        return not self.bounds and WAYS[self.way].keeps == "exactly"

    @property
    def options(self) -> Options:
        """Option → how to read its value."""
        return self.bounds if self.kind is None else {**KINDS[self.kind].options, **WAYS[self.way].options}

    @property
    def bare(self) -> bool:
        """Whether its name may stand without a number of steps."""
        return self.kind is None or KINDS[self.kind].bare

    @property
    def numbered(self) -> bool:
        """Whether its name may end in a number of steps."""
        return self.kind is not None

    @property
    def spacing(self) -> Spacing | None:
        """Of N timesteps, unless an option says otherwise; the scheduler's own where it is `None`."""
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
        ValueError: the name is taken.
    """
    if f"{name}-" in WAYS:
        raise ValueError(f"there are two solvers of the name {name!r}")
    _add(f"{name}-", way)


def _add(prefix: str, way: Way) -> None:
    WAYS[prefix] = way
    for name, kind in KINDS.items():
        if kind.noise or not way.needs_noise:
            SAMPLERS[prefix + name] = SamplerFamily(f"{kind.summary}, {way.summary}", name, prefix)


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
    """How a family is typed: `ddpm` and `ddpm-N`, `ddim-N`, `auto`."""
    return [family] * SAMPLERS[family].bare + [f"{family}-N"] * SAMPLERS[family].numbered


def sampler_names() -> list[str]:
    """Every sampler as it is typed: `ddpm`, `ddpm-N`, `ddim-N`, …"""
    return [name for family in all_samplers() for name in typed(family)]
