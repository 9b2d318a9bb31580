"""Options for the facts that another program's checkpoint lacks, one for each field of `paradp.bridges.Facts`."""

from collections.abc import Callable
from dataclasses import dataclass, fields, make_dataclass
from typing import TYPE_CHECKING, Annotated, Any, cast

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from paradp.bridges.fact_fields import Facts, Given
from paradp.policy.settings import Limits
from paradp.scripts.call import Count


def _sizes(text: str) -> dict[str, int]:
    """Parses `goal_pos:3,gripper:1` as name → length."""
    found = {}
    for part in text.split(","):
        name, _, size = part.partition(":")
        if not name or not size.isdecimal():
            raise ValueError(f"{part!r} is not of the form NAME:LENGTH")
        found[name] = int(size)
    return found


def _observed(word: str) -> tuple[str, str | dict[str, int]]:
    """Parses `observation.state=eef_pos:3,gripper:1` or `observation.images.top=camera`."""
    key, _, said = word.partition("=")
    if not key or not said:
        raise ValueError(f"{word!r} is not of the form KEY=NAME or KEY=NAME:LENGTH,…")
    return key, _sizes(said) if ":" in said else said


def _gain(word: str) -> tuple[str, float]:
    name, _, value = word.partition("=")
    return name, float(value)


def _words(metavar: str, read: Callable[[list[str]], Any], written: Callable[[Any], list[str]]) -> PrimitiveConstructorSpec:
    return PrimitiveConstructorSpec(
        nargs="*",
        metavar=metavar,
        instance_from_str=read,
        is_instance=lambda value: value is not None,
        str_from_instance=lambda value: [] if value is None else written(value),
    )


def _pairs(value: Any) -> list[str]:
    return [f"{name}={said}" for name, said in value.items()]


# Fields that need a parser of their own.
_READ: dict[str, PrimitiveConstructorSpec] = {
    "controller": _words("GAIN=VALUE …", lambda words: dict(map(_gain, words)), _pairs),
    "observation": _words("KEY=NAME:LENGTH,… …", lambda words: dict(map(_observed, words)), _pairs),
    "action": _words("NAME:LENGTH,…", lambda words: _sizes(",".join(words)), lambda value: [str(value)]),
}
_VALUE = Limits(-1e9, 1e9)
_NUMBERS = ("action_low", "action_high", "action_step")


def _hint(name: str) -> Any:
    unset = tyro.conf.arg(help_behavior_hint="")
    if name == "control_hz":
        return Annotated[Count | None, unset, tyro.conf.arg(metavar="INT")]
    if name in _NUMBERS:
        numbers = _words("NUMBER …", lambda words: tuple(map(float, words)), lambda value: list(map(str, value)))
        return Annotated[tuple[Annotated[float, _VALUE], ...] | None, numbers, unset]
    if name in _READ:
        return Annotated[dict[str, Any] | None, _READ[name], unset]
    return Annotated[str | None, unset, tyro.conf.arg(metavar="STR")]


if TYPE_CHECKING:

    @dataclass(frozen=True)
    class FactsFlags(Facts):
        """The options."""
else:
    FactsFlags = make_dataclass(
        "FactsFlags",
        [(one.name, _hint(one.name), None) for one in fields(Facts)],
        namespace={"__doc__": Facts.__doc__},
        frozen=True,
    )


def given(flags: FactsFlags) -> Given:
    """The given facts, as arguments for `load_policy`."""
    said = {one.name: value for one in fields(flags) if (value := getattr(flags, one.name)) is not None}
    return cast(Given, said)
