"""Reads the samplers that users type, with the checks that need no policy, before anything slow is loaded."""

from dataclasses import replace

from paradp.sampler import SamplerChoice
from paradp.sampler.families import KINDS, SAMPLERS, WAYS
from paradp.scripts.lists import words


def read_sampler(text: str) -> SamplerChoice:
    """Parses a sampler.

    Raises:
        ValueError: as `SamplerChoice.parse`; or its solver needs noise, and its steps add none.
    """
    choice = SamplerChoice.parse(text)
    family, options = SAMPLERS[choice.family], dict(choice.options)
    if family.kind is None or not WAYS[family.way].needs_noise or "eta" not in KINDS[family.kind].options:
        return choice
    if options.get("eta", 0 if family.needs_eta else 1) == 0:
        noisy = replace(choice, options=tuple(sorted((options | {"eta": 1}).items())))
        sequential = SamplerChoice(family.kind, choice.steps, tuple(sorted(choice.of_steps.items())))
        raise ValueError(f"{choice} needs steps that add noise, eta > 0: write {noisy}, or {sequential}")
    return choice


def one_sampler(text: str) -> SamplerChoice:
    """Like `read_sampler`, for commands that take one sampler.

    Raises:
        ValueError: as `read_sampler`, or there are several or none.
    """
    if len(words(text)) != 1:
        raise ValueError(f"--sampler takes one sampler, not {text!r}")
    return read_sampler(text)
