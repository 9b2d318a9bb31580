"""Parses sampler names such as `para-ddpm:window=8:tolerance=0.1`, `ddim-10`, `speculative-ddpm`. Needs no PyTorch."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from paradp.sampler.families import (
    KINDS,
    RENAMED_OPTIONS,
    SAMPLERS,
    WAYS,
    SamplerFamily,
    find_family,
    read_bound,
    sampler_names,
)
from paradp.sampler.lookup import note_renamed, unknown
from paradp.sampler.options import Timesteps

if TYPE_CHECKING:
    from paradp.sampler.draft_model import DraftModel
    from paradp.sampler.schedules.described import Scheduler
    from paradp.sampler.solution import Solver

# The sequential sampler that `auto` must beat.
MEASURED_AGAINST = "ddpm"


@dataclass(frozen=True)
class SamplerChoice:
    """A sampler's family, steps and options. `str` returns the name that it was parsed from."""

    family: str
    steps: int | None = None
    options: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def parse(cls, text: str) -> "SamplerChoice":
        """Parses `name:option=value:…`.

        Raises:
            ValueError: the name or an option is unknown, or a value is invalid; the message lists the alternatives.
        """
        name, *settings = text.strip().split(":")
        family, steps = _split_name(name)
        readers = SAMPLERS[family].options
        options: list[tuple[str, Any]] = []
        for setting in settings:
            key, _, value = setting.partition("=")
            if RENAMED_OPTIONS.get(key) in readers:
                note_renamed(f"the option {key} of {name}", now := RENAMED_OPTIONS[key])
                key = now
            if key not in readers:
                raise ValueError(unknown(f"{name} has no option", key, readers, "Its options"))
            if key in dict(options):
                raise ValueError(f"{name} is given {key} twice")
            try:
                options.append((key, readers[key](value)))
            except ValueError:
                raise ValueError(f"{name}: {key} cannot be {value!r}; it is {_kind(readers[key])}") from None
        _check_grid(family, steps, dict(options))
        return cls(family, steps, tuple(sorted(options)))

    @property
    def name(self) -> str:
        """The name without options: `ddim-10`."""
        return self.family if self.steps is None else f"{self.family}-{self.steps}"

    @property
    def measured(self) -> bool:
        """Whether autotuning chooses the sampler (`paradp.policy.engines.autotune`)."""
        return self._family.measured

    @property
    def sequential(self) -> "SamplerChoice":
        """The sequential sampler with the same steps.

        Raises:
            ValueError: it is `auto` or `auto-fast`, which have no steps of their own.
        """
        family = self._family
        if family.kind is None:
            raise ValueError(f"{self.name} is chosen by measuring: it has no steps of its own")
        options = self._spacing | self.of_steps
        if options.get("spacing") == KINDS[family.kind].spacing:
            options.pop("spacing", None)
        return SamplerChoice(family.kind, self.steps, tuple(sorted(options.items())))

    @property
    def exact(self) -> bool:
        """Whether its samples have exactly the distribution of `sequential`, see `SamplerFamily`.

        False with `max-rounds`: samples that are completed early have another distribution.
        """
        return self._family.exact and "max-rounds" not in dict(self.options)

    @property
    def of_steps(self) -> dict[str, Any]:
        """The given options of the steps: eta and the grid."""
        kind = self._family.kind
        return {} if kind is None else {key: value for key, value in self.options if key in KINDS[kind].options}

    def build(self, scheduler: "Scheduler", model: "DraftModel | None" = None) -> "Solver":
        """Builds the solver for the noise schedule that a network was trained with.

        Args:
            scheduler: as for `step_table`, of any class. Every sampler keeps its schedule, prediction type and clipping,
                like diffusers' `from_config`; only its own kind of sampler keeps its settings for steps.
            model: the trained draft for `draft=trained`.

        Raises:
            ValueError: an option is out of range, this sampler does not support a setting of the scheduler, or the sampler
                must be autotuned first.
        """
        from paradp.sampler.builders import SOLVERS, TABLES  # need PyTorch, which reading names does not

        family = self._family
        if family.kind is None:
            raise ValueError(f"{self.name} is chosen by measuring an engine: load_policy(…, sampler={self.name!r}) does")
        of_way = {key.replace("-", "_"): value for key, value in self.options if key in WAYS[family.way].options}
        if of_way.get("draft") == "trained":
            of_way["model"] = model
        of_steps = self._spacing | self.of_steps
        # Given timesteps are the whole grid; the number of steps in the name only repeats their number.
        count = None if "timesteps" in of_steps else self.steps
        solver = WAYS[family.way].solver or SOLVERS[family.way]
        try:
            return solver(TABLES[family.kind](scheduler, count, **of_steps), **of_way)
        except ValueError as error:
            raise ValueError(f"{self}: {error}") from error

    def build_first(self, scheduler: "Scheduler", model: "DraftModel | None" = None) -> "Solver":
        """As `build`; for `auto` and `auto-fast` the solver that they are compared with, until autotuning.

        Raises:
            ValueError: as `build`; or it is `auto` or `auto-fast`, and the network is not a diffusion model.
        """
        if not self.measured:
            return self.build(scheduler, model)
        try:
            return SamplerChoice(MEASURED_AGAINST).build(scheduler)
        except ValueError as error:
            raise ValueError(str(error).replace(MEASURED_AGAINST, self.name, 1)) from error

    @property
    def _family(self) -> SamplerFamily:
        found = find_family(self.family)  # a solver of another package is imported anew in each process
        assert found is not None
        return found

    @property
    def _spacing(self) -> dict[str, Any]:
        """The family's default spacing of N timesteps, unless timesteps are given."""
        spacing = self._family.spacing
        own = spacing is None or self.steps is None or "timesteps" in dict(self.options)
        return {} if own else {"spacing": spacing}

    def __str__(self) -> str:
        return ":".join([self.name, *(f"{key}={value}" for key, value in self.options)])


def _split_name(name: str) -> tuple[str, int | None]:
    """Splits a name into the family and the number of steps."""
    numbered = re.fullmatch(r"(.+)-(\d{1,9})", name)
    if numbered and (family := find_family(numbered[1])) and family.numbered:
        return numbered[1], int(numbered[2])
    if family := find_family(name):
        if family.bare:
            return name, None
        raise ValueError(f"{name} needs a number of steps, such as {name}-10")
    raise ValueError(unknown("unknown sampler", name, sampler_names()))


def _check_grid(family: str, steps: int | None, options: Mapping[str, Any]) -> None:
    """Checks that the options of the grid are consistent."""
    if (timesteps := options.get("timesteps")) is None:
        return
    if "spacing" in options:
        raise ValueError(f"{family} is given spacing and timesteps: timesteps are the whole grid")
    if len(timesteps) != steps:
        raise ValueError(f"with {len(timesteps)} timesteps the sampler must be called {family}-{len(timesteps)}")


def _kind(reader: Callable[[str], Any]) -> str:
    kinds = {
        int: "a whole number",
        float: "a number",
        read_bound: "a number that is at least 0",
        Timesteps.read: "timesteps from high to low, such as 99-66-33",
    }
    return kinds.get(reader, "a value that its solver takes")
