"""Sampler names: `para-ddpm:window=8:tolerance=0.1` to a solver."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from paradp.sampler.picard import Picard
from paradp.sampler.sequential import Sequential
from paradp.sampler.solution import Solver
from paradp.sampler.table import StepTable


@dataclass(frozen=True)
class SamplerFamily:
    """A named way to sample.

    Attributes:
        summary: what it is, for `--help` and errors.
        options: option → how to read its value.
        build: from a diffusers scheduler config and the options given.
    """

    summary: str
    options: Mapping[str, Callable[[str], Any]]
    build: Callable[..., Solver]


SAMPLERS: dict[str, SamplerFamily] = {
    "ddpm": SamplerFamily(
        "sequential DDPM, one step after another",
        {},
        lambda config: Sequential(StepTable.from_config(config)),
    ),
    "para-ddpm": SamplerFamily(
        "ParaDiGMS: DDPM's steps in parallel, window 20, tolerance 0.1",
        {"window": int, "tolerance": float},
        lambda config, **options: Picard(StepTable.from_config(config), **options),
    ),
}


@dataclass(frozen=True)
class SamplerChoice:
    """A sampler's name and the options given with it; prints as the text it was read from."""

    name: str
    options: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def parse(cls, text: str) -> "SamplerChoice":
        """Reads `name:option=value:…`.

        Raises:
            ValueError: the name or an option is unknown, or a value cannot be read; the message says what there is.
        """
        name, *settings = text.strip().split(":")
        if name not in SAMPLERS:
            raise ValueError(f"unknown sampler {name!r}{_hint(name, SAMPLERS)} There are: {', '.join(SAMPLERS)}.")
        readers = SAMPLERS[name].options
        options = []
        for setting in settings:
            key, _, value = setting.partition("=")
            if key not in readers:
                known = ", ".join(readers) or "none"
                raise ValueError(f"{name} has no option {key!r}{_hint(key, readers)} Its options: {known}.")
            try:
                options.append((key, readers[key](value)))
            except ValueError:
                raise ValueError(f"{name}: {key} cannot be {value!r}; it is {_kind(readers[key])}") from None
        return cls(name, tuple(sorted(options)))

    def build(self, scheduler_config: Mapping[str, Any]) -> Solver:
        """The solver for a noise schedule.

        Raises:
            ValueError: an option is out of range, or the schedule has no step table.
        """
        return SAMPLERS[self.name].build(scheduler_config, **dict(self.options))

    def __str__(self) -> str:
        return ":".join([self.name, *(f"{key}={value}" for key, value in self.options)])


def _hint(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f" — did you mean {near[0]!r}?" if near else "."


def _kind(reader: Callable[[str], Any]) -> str:
    return {int: "a whole number", float: "a number"}[reader]  # type: ignore[index]
