"""What `auto` and `auto-fast` choose among: sets of steps, each taken one after another or speculatively."""

from dataclasses import dataclass

from paradp.policy.fidelity import Bounds, Fidelity, fewest_steps, nearest_steps
from paradp.sampler import SamplerChoice
from paradp.sampler.families import SAMPLERS

WINDOWS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 30, 50)
# On a GPU the widest window can win, if it goes only so far beyond what is predicted; narrower ones need no such limit.
WIDEST, AHEAD = 100, 30
EXACT_STEPS = "ddpm"


@dataclass(frozen=True)
class Candidates:
    """Steps to choose among.

    Attributes:
        steps: sequential samplers; each may be taken speculatively, too, where its steps add noise.
        reasons: why they may be chosen, for those whose distribution is not DDPM's.
    """

    steps: tuple[str, ...]
    reasons: dict[str, str]

    def reason(self, sampler: str) -> str:
        """Why a sampler may be chosen."""
        return self.reasons.get(str(SamplerChoice.parse(sampler).sequential), "")


EXACT = Candidates((EXACT_STEPS,), {})
# What `auto-fast` takes where nothing was measured of a checkpoint. docs/results/front.md says how near it comes: within the
# bounds on Square; on Lift its plans are spread less.
GENERAL_RULE = "sde-dpm-solver-10:spacing=sine"


def speculative(steps: str) -> dict[int, str]:
    """By window, the samplers that draw from exactly the distribution of these steps; none where the steps add no noise."""
    choice = SamplerChoice.parse(steps)
    # DDIM's noise is an option, and its speculative form has another spacing by default.
    if f"speculative-{choice.family}" not in SAMPLERS or choice.family == "ddim":
        return {}
    options = {p: f"window={p}" for p in WINDOWS if p <= (choice.steps or WIDEST)}
    if choice.steps is None:
        options[WIDEST] = f"ahead={AHEAD}:window={WIDEST}"
    return {p: str(SamplerChoice.parse(f"speculative-{steps}:{text}")) for p, text in options.items()}


def general(why: str) -> Candidates:
    """Without a measurement, for the reason given."""
    return Candidates((GENERAL_RULE, EXACT_STEPS), {GENERAL_RULE: f"by the general rule: {why}"})


def by_rule(choice: SamplerChoice) -> Candidates:
    """For `auto` or `auto-fast`, where there is no checkpoint that anything was measured of."""
    return EXACT if choice.name == "auto" else general("nothing was measured")


def within(fidelity: Fidelity, bounds: Bounds, given: bool) -> Candidates:
    """Of every kind the fewest steps whose fidelity is within bounds, and DDPM itself.

    Args:
        fidelity: what was measured.
        bounds: to be kept.
        given: whether the user gave them: then it is a mistake if nothing but DDPM itself keeps them.

    Raises:
        ValueError: no steps do, and they were given.
    """
    said = bounds.describe(fidelity.expected_coverage)
    found = fewest_steps(fidelity, bounds)
    if not found and given:
        nearest = nearest_steps(fidelity, bounds)
        best = f"; the nearest are {nearest}: {fidelity.steps[nearest].describe()}" if nearest else ""
        raise ValueError(f"no fewer steps than DDPM's own are within {said}{best}; allow more, or take auto, which is exact")
    return Candidates((*found, EXACT_STEPS), {name: f"{fidelity.steps[name].describe()}, within {said}" for name in found})
