"""The candidates of `auto` and `auto-fast`: sets of steps, each sampled sequentially or speculatively."""

from dataclasses import dataclass

from paradp.policy.fidelity import Bounds, Fidelity, fewest_steps, nearest_steps
from paradp.sampler import SamplerChoice
from paradp.sampler.families import SAMPLERS

WINDOWS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 30, 50)
# On a GPU the widest window can be best, if `ahead` limits it; narrower windows need no such limit.
WIDEST, AHEAD = 100, 30
EXACT_STEPS = "ddpm"


@dataclass(frozen=True)
class Candidates:
    """The candidates.

    Attributes:
        steps: sequential samplers; those whose steps add noise may also be sampled speculatively.
        reasons: sampler → why it may be chosen although its distribution is not DDPM's.
    """

    steps: tuple[str, ...]
    reasons: dict[str, str]

    def reason(self, sampler: str) -> str:
        """Why a sampler may be chosen."""
        return self.reasons.get(str(SamplerChoice.parse(sampler).sequential), "")


EXACT = Candidates((EXACT_STEPS,), {})
# The choice of `auto-fast` for a checkpoint without measurements. For its fidelity see docs/results/front.md: within the
# bounds on Square; on Lift its plans have less spread.
GENERAL_RULE = "sde-dpm-solver-10:spacing=sine"


def speculative(steps: str) -> dict[int, str]:
    """Window → speculative sampler with exactly the distribution of these steps; empty if the steps add no noise."""
    choice = SamplerChoice.parse(steps)
    # DDIM's noise is an option, and its speculative form has another spacing by default.
    if f"speculative-{choice.family}" not in SAMPLERS or choice.family == "ddim":
        return {}
    options = {p: f"window={p}" for p in WINDOWS if p <= (choice.steps or WIDEST)}
    if choice.steps is None:
        options[WIDEST] = f"ahead={AHEAD}:window={WIDEST}"
    return {p: str(SamplerChoice.parse(f"speculative-{steps}:{text}")) for p, text in options.items()}


def general(why: str) -> Candidates:
    """The candidates without a measurement, with the reason."""
    return Candidates((GENERAL_RULE, EXACT_STEPS), {GENERAL_RULE: f"by the general rule: {why}"})


def by_rule(choice: SamplerChoice) -> Candidates:
    """The candidates of `auto` or `auto-fast` without a checkpoint."""
    return EXACT if choice.name == "auto" else general("nothing was measured")


def within(fidelity: Fidelity, bounds: Bounds, given: bool) -> Candidates:
    """For each kind of steps the smallest number within the bounds, and DDPM itself.

    Args:
        fidelity: the measurements.
        bounds: the bounds on fidelity.
        given: whether the user gave the bounds; it is then an error if only DDPM itself is within them.

    Raises:
        ValueError: the user gave bounds that no steps satisfy.
    """
    said = bounds.describe(fidelity.expected_coverage)
    found = fewest_steps(fidelity, bounds)
    if not found and given:
        nearest = nearest_steps(fidelity, bounds)
        best = f"; the nearest are {nearest}: {fidelity.steps[nearest].describe()}" if nearest else ""
        raise ValueError(f"no fewer steps than DDPM's own are within {said}{best}; allow more, or use auto, which is exact")
    return Candidates((*found, EXACT_STEPS), {name: f"{fidelity.steps[name].describe()}, within {said}" for name in found})
