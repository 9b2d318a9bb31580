"""Settings that are declared once: name, type, default and limits by a field, what it is by the docstring of its class.

Checks, run identities, model cards and command-line options are made from these declarations. No PyTorch here, nor where
settings are declared, so that `--help` is quick.
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
    """The least and the most that a number may be. Where both are whole numbers, so must it be.

    Attributes:
        least, most: see above.
        above: whether it must be more than `least`.
    """

    least: float
    most: float
    above: bool = False

    def problem(self, value: float) -> str:
        """What is wrong with a number, in words that follow its name; empty where nothing is."""
        if not math.isfinite(value):
            return "must be a finite number"
        if self.above and value <= self.least:
            return f"must be more than {self.least:g}"
        if value < self.least:
            return f"must be at least {self.least:g}"
        return f"must be at most {self.most:.15g}" if value > self.most else ""

    def check(self, name: str, value: Any) -> None:
        """Raises:
        SettingError: the value is outside, or no number.
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
    """What a field of `Settings` says of its setting besides type and default.

    Attributes:
        limits: of the number, or of each of several.
        option: whether an option of the command line is made of it.
        later: whether it was added after runs were written that must still be continued; see `Settings.settings`.
        owner: what it is a setting of, where that is less than its whole class.
        in_force: the default in force where the field's is `None`.
        typed: what its option is called, where that is not the field's name.
        names: the values that it may have, where installed packages add to them.
        kinds: likewise the classes of settings that it may hold one of, as a config holds its parts.
    """

    limits: Limits | None = None
    option: bool = True
    later: bool = False
    owner: str | None = None
    in_force: Any = None
    typed: str | None = None
    names: Callable[[], tuple[str, ...]] | None = None
    kinds: "Callable[[], tuple[type[Settings], ...]] | None" = None


def setting(default: T, limits: Limits | None = None, **notes: Any) -> T:
    """A field of `Settings` with a `Note`, whose attributes are the arguments from the second on."""
    return cast(T, field(default=default, metadata={"note": Note(limits, **notes)}))


def note_of(declared: Field) -> Note:
    """What a field says of its setting; nothing special where it was not made by `setting`."""
    return declared.metadata.get("note", Note())


@dataclass(frozen=True)
class Settings:
    """A base of dataclasses of settings.

    A field `kind` is none of them: it tells which of several such classes an object belongs to.
    """

    def __post_init__(self) -> None:
        for declared in fields(self):
            _check(declared, getattr(self, declared.name))

    def settings(self) -> dict[str, Any]:
        """The settings by name, in order: what a run is known by, and a card lists.

        Those that were added later only where they differ from `assumed`.
        """
        assumed = self.assumed()
        values = {declared.name: getattr(self, declared.name) for declared in setting_fields(type(self))}
        return {name: value for name, value in values.items() if name not in assumed or value != assumed[name]}

    def assumed(self) -> dict[str, Any]:
        """The settings that were added later, as a run has them that does not note them: by default."""
        later = [declared for declared in setting_fields(type(self)) if note_of(declared).later]
        return {declared.name: declared.default for declared in later}


def setting_fields(kind: type[Settings]) -> list[Field]:
    """The declarations of all settings of a class."""
    return [declared for declared in fields(kind) if declared.name != "kind"]


def option_fields(kind: type[Settings]) -> list[Field]:
    """The declarations of the settings that can be options: what has no default is for the caller to give.

    Keyword-only ones come last, as they do when an object is made.
    """
    given = [one for one in setting_fields(kind) if note_of(one).option and one.default is not MISSING]
    return sorted(given, key=lambda declared: bool(declared.kw_only))


def kind_of(settings: Settings | type[Settings]) -> str:
    """The name by which a part is chosen, such as `unet`."""
    return settings.kind  # type: ignore[union-attr, no-any-return]


def kinds_of(declared: Field) -> tuple[type[Settings], ...]:
    """The classes of settings that a field holds one of, as a config holds its parts; empty for a plain setting."""
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
    """The error of a setting that was given although what it belongs to was not chosen."""
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
