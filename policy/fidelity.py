"""Fidelity: how plans with few steps differ from DDPM's plans, as measured by `paradp fidelity`, and bounds on that.

Fidelity is a property of the steps, not of the solver: a `speculative-` sampler has exactly the distribution of the
sequential one. The command stores the measurement in `fidelity.json`; loading a policy never measures it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config

from paradp.policy.files.formats import read_document
from paradp.policy.files.limits import DOCUMENT_BYTES
from paradp.policy.files.reading import first_problem
from paradp.policy.files.writing import write_whole
from paradp.sampler import SamplerChoice

FILE = "fidelity.json"
# Largest number of samplers in a file; a measurement has about fifteen.
MOST_SETS = 200
# Longest name of a sampler; one that lists a hundred timesteps has about 300 characters.
_NAME = Annotated[str, Field(max_length=4000)]
_TEXT = Annotated[str, Field(max_length=4000)]
_FORBID = with_config(ConfigDict(extra="forbid"))


@_FORBID
@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval over the observations."""

    value: float
    low: float
    high: float


@_FORBID
@dataclass(frozen=True)
class StepsFidelity:
    """A sampler's plans compared with DDPM's at the same observations; see `rollouts.evaluation.two_sample`.

    Attributes:
        energy: the energy coefficient; 0 for equal distributions, except for chance.
        p_value: probability of at least as large a coefficient by chance.
        coverage: the share of DDPM's plans with one of the sampler's plans nearby.
        spread: median distance between two of its plans, divided by that between two of DDPM's.
    """

    energy: Interval
    p_value: float
    coverage: Interval
    spread: Interval

    def describe(self) -> str:
        """A short description."""
        return f"energy {self.energy.value:.4f}, coverage {self.coverage.value:.3f}, spread {self.spread.value:.3f}"


@_FORBID
@dataclass(frozen=True)
class Fidelity:
    """The fidelity measurements of one checkpoint.

    Attributes:
        checkpoint_sha256: `checkpoint_digest` of the checkpoint.
        command: the command that measured it.
        source: origin of the observations.
        observations, plans, seed: number of observations, number of plans per sampler and observation, seed of the noise.
        expected_coverage: mean coverage for equal distributions with this number of plans.
        engine, versions: software of the measurement.
        steps: sequential sampler, such as `ddpm-25` → its fidelity.
    """

    checkpoint_sha256: str
    command: _TEXT
    source: _TEXT
    observations: Annotated[int, Field(ge=1)]
    plans: Annotated[int, Field(ge=2)]
    seed: int
    expected_coverage: Annotated[float, Field(ge=0, le=1)]
    engine: _TEXT
    versions: Annotated[dict[str, _TEXT], Field(max_length=100)]
    steps: Annotated[dict[_NAME, StepsFidelity], Field(max_length=MOST_SETS)]
    format: Literal[1] = 1

    @classmethod
    def read(cls, path: Path, sha256: str, schedule: Mapping[str, Any]) -> "Fidelity":
        """Reads a file.

        Args:
            path: the file.
            sha256: `checkpoint_digest` of the checkpoint that it must belong to.
            schedule: schedule of the checkpoint, which must contain the measured steps.

        Raises:
            ValueError: the file is damaged, belongs to another checkpoint, or contains unknown steps; the message says
                which.
            OSError: it is missing or cannot be read.
        """
        content = read_document(path, DOCUMENT_BYTES)
        try:
            found = _FIDELITY.validate_python(content)
        except ValidationError as error:
            raise ValueError(f"{path} cannot be read: {first_problem(error)}") from error
        if found.checkpoint_sha256 != sha256:
            raise ValueError(f"{path} was measured of another checkpoint")
        for name in found.steps:
            try:
                choice = SamplerChoice.parse(name)
                if choice.measured or choice.sequential != choice:
                    raise ValueError(f"{name:.60} is not a sequential sampler")
                choice.build(schedule)
            except ValueError as error:
                raise ValueError(f"{path} cannot be read: {error}") from error
        return found

    def write(self, path: Path) -> None:
        """Raises:
        OSError: the file cannot be written; the old one is kept.
        """
        write_whole(path, _FIDELITY.dump_json(self, indent=1) + b"\n")


_FIDELITY = TypeAdapter(Fidelity)


@dataclass(frozen=True)
class Bounds:
    """How far plans may be from DDPM's; the options of `auto-fast`.

    Attributes:
        energy: largest energy coefficient.
        coverage: largest difference of the coverage below that of equal distributions.
        spread: largest difference of the ratio of spreads from 1.
    """

    energy: float = 0.010
    coverage: float = 0.01
    spread: float = 0.05

    def __post_init__(self) -> None:
        for bound in fields(self):
            if not 0 <= (value := getattr(self, bound.name)) < math.inf:
                raise ValueError(f"the bound on {bound.name} must be a number that is at least 0, not {value}")

    def allow(self, steps: StepsFidelity, expected_coverage: float) -> bool:
        """Whether a measurement is within the bounds."""
        return self.excess(steps, expected_coverage) <= 1

    def excess(self, steps: StepsFidelity, expected_coverage: float) -> float:
        """The largest ratio of a value to its bound: at most 1 if all are within."""
        lost = {
            "energy": steps.energy.value,
            "coverage": expected_coverage - steps.coverage.value,
            "spread": abs(steps.spread.value - 1),
        }
        # Rounding must not decide about a value equal to its bound.
        return max(_ratio(value - 1e-12, getattr(self, name)) for name, value in lost.items())

    def describe(self, expected_coverage: float | None = None) -> str:
        """A short description."""
        expected = "" if expected_coverage is None else f" = {expected_coverage - self.coverage:.3f}"
        return (
            f"energy ≤ {self.energy:g}, coverage ≥ expected − {self.coverage:g}{expected}, "
            f"spread {1 - self.spread:g} to {1 + self.spread:g}"
        )


def _ratio(value: float, bound: float) -> float:
    if value <= bound:
        return max(0.0, value / bound) if bound > 0 else 0.0
    return value / bound if bound > 0 else math.inf


def fewest_steps(fidelity: Fidelity, bounds: Bounds) -> list[str]:
    """For each kind of steps, the smallest number within the bounds; of equal numbers, the one with the lowest energy."""
    best: dict[str, tuple[int, float, str]] = {}
    for name, steps in fidelity.steps.items():
        choice = SamplerChoice.parse(name)
        if choice.steps is None or not bounds.allow(steps, fidelity.expected_coverage):
            continue
        this = (choice.steps, steps.energy.value, name)
        best[choice.family] = min(best.get(choice.family, this), this)
    return [name for _, _, name in best.values()]


def nearest_steps(fidelity: Fidelity, bounds: Bounds) -> str | None:
    """The steps that are closest to the bounds, if none are within them."""
    steps = {name: one for name, one in fidelity.steps.items() if SamplerChoice.parse(name).steps is not None}
    return min(steps, key=lambda name: bounds.excess(steps[name], fidelity.expected_coverage), default=None)
