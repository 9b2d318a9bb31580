"""Parses arguments with several values, separated by commas, blanks or both."""

import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from paradp.envs.registry import task_names
from paradp.sampler.families import find_family, sampler_names

T = TypeVar("T")
# Abbreviation for the samplers of ParaDiGMS' robotics table: each sequential one and its parallel form.
PAPER = "paper"
PAIRS = (("ddpm", "para-ddpm"), ("ddim-15", "para-ddim-15"), ("dpm-solver-15", "para-dpm-solver-15"))
PAPER_SAMPLERS = tuple(name for pair in PAIRS for name in pair)
# Abbreviation for the samplers of docs/results/front.md, one for each set of steps.
FRONT = "front"
FRONT_SAMPLERS = (
    "ddpm",
    "para-ddpm",
    "speculative-ddpm-25:window=4",
    *(f"speculative-ddpm-{steps}:spacing=sine:window=4" for steps in (20, 16)),
    "speculative-sde-dpm-solver-20:window=4",
    "speculative-sde-dpm-solver-16:spacing=sine:window=4",
    *(f"sde-dpm-solver-{steps}:spacing=sine" for steps in (12, 10, 9, 8, 7, 6, 5)),
    "ddim-10",
    "ddim-10:spacing=trailing",
    "ddim-15:spacing=trailing",
    "ddim-25",
    "dpm-solver-10",
    "dpm-solver-15",
)
SETS = {PAPER: PAPER_SAMPLERS, FRONT: FRONT_SAMPLERS}


def words(text: str) -> list[str]:
    """Splits a text into words at commas or blanks."""
    return [word for word in re.split(r"[,\s]+", text) if word]


def listed(read: Callable[[str], Any], metavar: str, split: Callable[[str], list[str]] = words) -> PrimitiveConstructorSpec:
    """Makes tyro's parser of such an argument.

    Args:
        read: a word → its value; raises ValueError for an unknown one.
        metavar: placeholder of a word in `--help`.
        split: splits a text into words.
    """
    return PrimitiveConstructorSpec(
        nargs="*",
        metavar=f"[{metavar} [{metavar} ...]]",
        instance_from_str=lambda given: tuple(read(word) for text in given for word in split(text)),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: [str(one) for one in value],
    )


def one_of(known: tuple[str, ...]) -> Callable[[str], str]:
    """Makes a parser of one of these names."""

    def read(word: str) -> str:
        if word not in known:
            raise ValueError(f"{word!r} is none of {', '.join(known)}")
        return word

    return read


def clocks(text: str) -> list[str]:
    """Splits a text into clocks; a file's name may contain commas and blanks."""
    return [clock.strip() for clock in re.split(r"[,\s]+(?=ideal\b|measured\b|fixed:|replay:)", text) if clock.strip()]


# The hint after a help text. An empty default has none: the text itself says what it means.
DEFAULT = tyro.conf.arg(help_behavior_hint=lambda shown: f"(default: {shown})" if shown else "")
Words = Annotated[tuple[str, ...], listed(str, "NAME"), DEFAULT]
Clocks = Annotated[tuple[str, ...], listed(str, "CLOCK", clocks), DEFAULT]


def joined(arguments: list[str], before_a_task: bool = True) -> list[str]:
    """Joins several samplers separated by blanks into one word, with commas.

    tyro reads only one word after `--sampler` and `--samplers`, because a task may follow.

    Args:
        arguments: the words after the command.
        before_a_task: whether the command's argument is a task. If there is one among the words, another word after a
            sampler is a sampler, also a misspelt one. A checkpoint's directory may have any name.
    """
    is_sampler = _is_no_task if before_a_task and task_names() & {*arguments} else _is_sampler
    found: list[str] = []
    for argument in arguments:
        if found and _takes_samplers(found) and is_sampler(argument):
            found[-1] += f",{argument}"
        else:
            found.append(argument)
    return found


def _takes_samplers(before: list[str]) -> bool:
    options = ("--sampler", "--samplers")
    return before[-1].startswith(tuple(f"{option}=" for option in options)) or (len(before) > 1 and before[-2] in options)


def _is_sampler(argument: str) -> bool:
    name = next(iter(words(argument)), "").partition(":")[0]
    return name in SETS or any(find_family(one) for one in (name, re.sub(r"-\d+$", "", name)))


def _is_no_task(argument: str) -> bool:
    """Whether a word is neither an option nor a task, nor closer to a task's name than to a sampler's."""
    if argument.startswith("-"):
        return False
    tasks = task_names()
    nearest = get_close_matches(argument.lower(), [*tasks, *sampler_names()], n=1)
    return _is_sampler(argument) or not nearest or nearest[0] not in tasks


SamplerText = Annotated[
    str,
    tyro.conf.arg(
        help="how to denoise: auto, ddpm, ddim-10, para-ddpm:window=8:tolerance=0.1, …; `paradp info samplers` lists all, "
        "with their options"
    ),
]
SamplersText = Annotated[
    str,
    tyro.conf.arg(
        help="how to denoise, one or several with commas or blanks between them: auto, ddpm, ddim-10, "
        "para-ddpm:window=8:tolerance=0.1, …; `paradp info samplers` lists all, with their options"
    ),
]
