"""Sampler names: `para-ddpm:window=8:tolerance=0.1`, `ddim-10`, `speculative-ddpm`. Read without PyTorch."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from paradp.sampler.options import Draft, Extension, Spacing, Split, Start

if TYPE_CHECKING:
    from paradp.sampler.scheduler_config import Scheduler
    from paradp.sampler.solution import Solver

Options = Mapping[str, Callable[[str], Any]]


@dataclass(frozen=True)
class SamplerFamily:
    """A named way to sample.

    Attributes:
        summary: what it is, for `--help` and errors.
        options: option → how to read its value.
        numbered: whether the name ends in a number of steps, as in `ddim-10`.
        measured: whether it stands for whichever sampler turns out to be fastest.
    """

    summary: str
    options: Options
    numbered: bool = False
    measured: bool = False

    @property
    def options_as_typed(self) -> list[str]:
        """The options with the values of those that are a choice: `draft=secant|picard|frozen`."""
        return [f"{name}={'|'.join(_CHOICES[name])}" if name in _CHOICES else name for name in self.options]


# What `auto-fast` may cost: the median over plans of the largest difference to the sequential sample on the same noise, in
# normalised units.
AUTO_FAST_ERROR = 2e-2
# The values of the options that are a choice; the solvers check them.
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "split": get_args(Split),
    "extension": get_args(Extension),
    "draft": get_args(Draft),
    "start": get_args(Start),
    "spacing": get_args(Spacing),
}
_DDIM: Options = {"eta": float, "spacing": str}
_PICARD: Options = {"window": int, "tolerance": float, "split": str, "extension": str, "anderson": int, "max-rounds": int}
_SPECULATIVE: Options = {"window": int, "draft": str, "gain": float, "start": str, "max-rounds": int}

SAMPLERS: dict[str, SamplerFamily] = {
    "auto": SamplerFamily(
        "the fastest here that draws from exactly DDPM's distribution, in parallel or not", {}, measured=True
    ),
    "auto-fast": SamplerFamily(
        "the fastest here within 0.02 of DDPM's samples, in normalised units, by the median", {}, measured=True
    ),
    "ddpm": SamplerFamily("DDPM, one step after another", {}),
    "ddim": SamplerFamily("DDIM with N steps", _DDIM, numbered=True),
    "dpm-solver": SamplerFamily("DPM-Solver++(2M) with N steps", {}, numbered=True),
    "para-ddpm": SamplerFamily("ParaDiGMS: DDPM's steps in parallel, window 20, tolerance 0.1", _PICARD),
    "para-ddim": SamplerFamily("DDIM's N steps in parallel", {**_DDIM, **_PICARD}, numbered=True),
    "para-dpm-solver": SamplerFamily("DPM-Solver++(2M)'s N steps in parallel", _PICARD, numbered=True),
    "speculative-ddpm": SamplerFamily(
        "DDPM's steps in parallel, from exactly DDPM's distribution: drafts accepted or reflected, window 20", _SPECULATIVE
    ),
}


def sampler_names() -> list[str]:
    """Every family as it is typed: `ddpm`, `ddim-N`, …"""
    return [f"{name}-N" if family.numbered else name for name, family in SAMPLERS.items()]


@dataclass(frozen=True)
class SamplerChoice:
    """A sampler's family, steps and options; prints as the text it was read from."""

    family: str
    steps: int | None = None
    options: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def parse(cls, text: str) -> "SamplerChoice":
        """Reads `name:option=value:…`.

        Raises:
            ValueError: the name or an option is unknown, or a value cannot be read; the message says what there is.
        """
        name, *settings = text.strip().split(":")
        family, steps = _split_name(name)
        readers = SAMPLERS[family].options
        options: list[tuple[str, Any]] = []
        for setting in settings:
            key, _, value = setting.partition("=")
            if key not in readers:
                known = ", ".join(readers) or "none"
                raise ValueError(f"{name} has no option {key!r}{_hint(key, readers)} Its options: {known}.")
            if key in dict(options):
                raise ValueError(f"{name} is given {key} twice")
            try:
                options.append((key, readers[key](value)))
            except ValueError:
                raise ValueError(f"{name}: {key} cannot be {value!r}; it is {_kind(readers[key])}") from None
        return cls(family, steps, tuple(sorted(options)))

    @property
    def name(self) -> str:
        """Without the options: `ddim-10`."""
        return self.family if self.steps is None else f"{self.family}-{self.steps}"

    @property
    def measured(self) -> bool:
        """Whether it stands for whichever sampler is measured to be fastest (`paradp.policy.planner`)."""
        return SAMPLERS[self.family].measured

    def build(self, scheduler: "Scheduler") -> "Solver":
        """The solver for the noise schedule that a network was trained with.

        Args:
            scheduler: as for `step_table`, whatever its class: what it says of schedule, prediction and clipping is kept by
                every sampler, as by diffusers' `from_config`, and what it says of steps by its own kind of sampler.

        Raises:
            ValueError: an option is out of range, a setting of the scheduler is not supported by this sampler, or the
                sampler must be measured first.
        """
        from paradp.sampler.builders import BUILDERS  # needs PyTorch, which reading names does not

        if self.measured:
            raise ValueError(f"{self.name} is chosen by measuring an engine: load_policy(…, sampler={self.name!r}) does")
        options = {key.replace("-", "_"): value for key, value in self.options}
        steps = {} if self.steps is None else {"steps": self.steps}
        try:
            return BUILDERS[self.family](scheduler, **steps, **options)
        except ValueError as error:
            raise ValueError(f"{self}: {error}") from error

    def __str__(self) -> str:
        return ":".join([self.name, *(f"{key}={value}" for key, value in self.options)])


def _split_name(name: str) -> tuple[str, int | None]:
    """The family and the number of steps of a name."""
    numbered = re.fullmatch(r"(.+)-(\d+)", name)
    if numbered and (family := numbered[1]) in SAMPLERS and SAMPLERS[family].numbered:
        return family, int(numbered[2])
    if name in SAMPLERS and not SAMPLERS[name].numbered:
        return name, None
    if name in SAMPLERS:
        raise ValueError(f"{name} needs a number of steps, such as {name}-10")
    raise ValueError(f"unknown sampler {name!r}{_hint(name, sampler_names())} There are: {', '.join(sampler_names())}.")


def _hint(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" — did you mean {near[0]!r}?" if near else "."


def _kind(reader: Callable[[str], Any]) -> str:
    return {int: "a whole number", float: "a number"}[reader]  # type: ignore[index]
