"""Settings, declared once: a dataclass field gives name, type, default and limits, and its docstring the description.

Checks, run identities, model cards and command-line options are generated from these declarations. Neither this module nor
those with declarations import PyTorch, so that `--help` is fast.
"""

import math
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields
from numbers import Real
from typing import Any, Literal, TypeVar, cast, get_args, get_origin

from paradp.policy.errors import SettingError
from paradp.policy.files.limits import within

T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """The allowed range of a number. If both limits are integers, the number must be an integer, too.

    Attributes:
        least, most: the limits.
        above: whether the number must be strictly greater than `least`.
    """

    least: float
    most: float
    above: bool = False

    def problem(self, value: float) -> str:
        """Why a number is invalid, to be put after its name in a message; empty if it is valid."""
        if not math.isfinite(value):
            return "must be a finite number"
        if self.above and value <= self.least:
            return f"must be more than {self.least:g}"
        if value < self.least:
            return f"must be at least {self.least:g}"
        return f"must be at most {self.most:.15g}" if value > self.most else ""

    def check(self, name: str, value: Any) -> None:
        """Checks a value.

        Raises:
            SettingError: it is not a number, or outside the limits.
        """
        if isinstance(self.least, int) and isinstance(self.most, int):
            within(name, value, self.least, self.most)
            return
        if not isinstance(value, Real) or not self.least <= float(value) <= self.most:  # not a number is within nothing
            raise SettingError(f"{name} must be from {self.least:g} to {self.most:.15g}, not {value}", name)
        if self.above and value == self.least:
            raise SettingError(f"{name} must be more than {self.least:g}, not {value}", name)


@dataclass(frozen=True)
class Note:
    """Metadata of a field of `Settings`.

    Attributes:
        limits: limits of the number, or of each number in a tuple.
        option: whether the command line has an option for it.
        later: whether it was added after runs were written that must remain continuable; see `Settings.settings`.
        owner: the part that it is a setting of, if that is not the whole class.
        in_force: the default in effect if the field's default is `None`.
        typed: the name of its option, if it is not the field's name.
        names: its values, if installed packages may add to them.
        kinds: the classes of settings that it may hold one of, if installed packages may add to them.
        inherited: whether a policy that a training starts from determines it; its option has no value if not given.
    """

    limits: Limits | None = None
    option: bool = True
    later: bool = False
    owner: str | None = None
    in_force: Any = None
    typed: str | None = None
    names: Callable[[], tuple[str, ...]] | None = None
    kinds: "Callable[[], tuple[type[Settings], ...]] | None" = None
    inherited: bool = False


def setting(default: T, limits: Limits | None = None, **notes: Any) -> T:
    """Declares a field of `Settings`; the arguments after the default become its `Note`."""
    return cast(T, field(default=default, metadata={"note": Note(limits, **notes)}))


def note_of(declared: Field) -> Note:
    """The metadata of a field; the default `Note` if the field was not declared with `setting`."""
    return declared.metadata.get("note", Note())


@dataclass(frozen=True)
class Settings:
    """Base class of dataclasses with settings.

    A field `kind` is not a setting: it names the class among several alternatives.
    """

    def __post_init__(self) -> None:
        for declared in fields(self):
            _check(declared, getattr(self, declared.name))

    def settings(self) -> dict[str, Any]:
        """The settings by name, in order, as run identities and model cards list them.

        Settings that were added later are included only if they differ from `assumed`.
        """
        assumed = self.assumed()
        values = {declared.name: getattr(self, declared.name) for declared in setting_fields(type(self))}
        return {name: value for name, value in values.items() if name not in assumed or value != assumed[name]}

    def assumed(self) -> dict[str, Any]:
        """The values of settings that were added later, for runs that do not store them: the defaults."""
        later = [declared for declared in setting_fields(type(self)) if note_of(declared).later]
        return {declared.name: declared.default for declared in later}


def setting_fields(kind: type[Settings]) -> list[Field]:
    """The declarations of all settings of a class."""
    return [declared for declared in fields(kind) if declared.name != "kind"]


def option_fields(kind: type[Settings]) -> list[Field]:
    """The declarations of the settings that are options; settings without a default are not.

    Keyword-only settings come last.
    """
    given = [one for one in setting_fields(kind) if note_of(one).option and one.default is not MISSING]
    return sorted(given, key=lambda declared: bool(declared.kw_only))


def kind_of(settings: Settings | type[Settings]) -> str:
    """The name by which a part is chosen, such as `unet`."""
    return settings.kind  # type: ignore[union-attr, no-any-return]


def kinds_of(declared: Field) -> tuple[type[Settings], ...]:
    """The alternative classes of a field that holds a part of a config; empty for a plain setting."""
    if (known := note_of(declared).kinds) is not None:
        return known()
    kinds = get_args(declared.type)
    return kinds if all(isinstance(kind, type) and issubclass(kind, Settings) for kind in kinds) else ()


def names_of(declared: Field) -> tuple[str, ...]:
    """The values of a setting that is a choice of names; empty for any other."""
    if (known := note_of(declared).names) is not None:
        return known()
    return get_args(declared.type) if get_origin(declared.type) is Literal else ()


def not_a_setting_here(name: str, owner: str) -> SettingError:
    """The error for a setting of a part that was not chosen."""
    return SettingError(f"{name} is a setting of {owner}, which this training does not have", name)


def _check(declared: Field, value: Any) -> None:
    name, limits = declared.name, note_of(declared).limits
    if (known := names_of(declared)) and value not in known:
        raise SettingError(f"{name} must be one of {', '.join(known)}, not {value!r:.40}", name)
    if (kinds := kinds_of(declared)) and not isinstance(value, kinds):
        raise SettingError(f"{name} must be one of {', '.join(kind.__name__ for kind in kinds)}, not {value!r:.40}", name)
    if limits is None or (value is None and type(None) in get_args(declared.type)):
        return
    for number in value if isinstance(value, tuple) else (value,):
        limits.check(name, number)
