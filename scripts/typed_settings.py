"""Generates a command's options from the declarations of its settings, including those of the parts of a training."""

import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import Field, dataclass, fields, make_dataclass
from functools import reduce
from operator import or_
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar, cast, get_args, get_origin

import tyro

from paradp.policy.settings import Settings, kind_of, kinds_of, names_of, not_a_setting_here, note_of, option_fields
from paradp.sampler.lookup import note_renamed
from paradp.scripts.lists import listed

Config = TypeVar("Config", bound=Settings)
T = TypeVar("T")
# Setting and old value → present settings. The old value is still accepted, with a note.
_OLDER: dict[tuple[str, str], dict[str, Any]] = {
    ("prediction_type", "flow_prediction"): {"prediction_type": None, "process": "flow"}
}


@dataclass(frozen=True)
class Typed(Generic[Config]):
    """The parsed options of a config before validation, so that we and not tyro write the error messages.

    Every setting is a field, including those of the config's parts. Those of parts, and inherited ones, are `None` if not
    given.
    """

    config: ClassVar[type[Settings]]

    def checked(self, **others: Any) -> Config:
        """Builds the config from the options, and from `others`, its settings that are not options.

        Raises:
            SettingError: the configuration is impossible, or a setting belongs to a part that was not chosen.
            ValueError: a value cannot be parsed.
        """
        typed = _in_todays_words({one.name: getattr(self, one.name) for one in fields(self)})
        for declared in option_fields(self.config):
            name = option_name(declared)
            if note_of(declared).inherited and typed[name] is None:
                typed[name] = _shown(declared)
        for part, kinds in _parts(self.config).items():
            typed[part] = _chosen(part, kinds, typed)
        for declared in option_fields(self.config):
            if (name := option_name(declared)) in typed:
                others[declared.name] = _meant(declared, typed[name])
        return self.config(**others)  # type: ignore[return-value]

    def inherited(self) -> dict[str, Any]:
        """The given settings that a policy to start from determines, by name: those of parts, and inherited ones."""
        own = {option_name(declared) for declared in option_fields(self.config) if note_of(declared).inherited}
        inner = {name for kinds in _parts(self.config).values() for name in _owners(kinds)}
        typed = _in_todays_words({one.name: getattr(self, one.name) for one in fields(self)})
        return {name: value for name, value in typed.items() if name in own | inner and value is not None}


def options_of(
    config: type[Settings],
    without: Collection[str] = (),
    defaults: Mapping[str, Any] = MappingProxyType({}),
    limits_first: bool = True,
) -> Callable[[type[T]], type[T]]:
    """Decorates a subclass of `Typed`: adds a field for each setting of a config.

    The help text is from the docstring of the subclass, or else from that of the config.

    Args:
        config: the class of the config.
        without: settings that are not options of this command.
        defaults: defaults of this command that differ from the config's.
        limits_first: whether numbers are checked before the command is called, and not only by the config.
    """

    def complete(typed: type[T]) -> type[T]:
        options = [
            (name, hint, defaults.get(name, default))
            for name, hint, default in _options(config, limits_first)
            if name not in without
        ]
        namespace = {"config": config, "__doc__": f"What was typed.\n\nAttributes:\n{_attributes(config, typed)}"}
        made = make_dataclass(typed.__name__, options, bases=(typed,), namespace=namespace, frozen=True)
        made.__module__ = typed.__module__
        return made

    return complete


def option_name(declared: Field) -> str:
    """The name of a setting's option, as a Python name."""
    return note_of(declared).typed or declared.name


def _options(config: type[Settings], limits_first: bool) -> Iterator[tuple[str, Any, Any]]:
    """The fields of the new dataclass: name, type, default."""
    parts = _parts(config)
    for declared in option_fields(config):
        name = option_name(declared)
        kinds = parts.get(name, {})
        hint, default = _option(declared, limits_first) if not kinds else (Literal[tuple(kinds)], _shown(declared))
        yield (name, *(_left_out(hint, default) if note_of(declared).inherited else (hint, default)))
        for inner, owners in _owners(kinds).items():
            yield _option_of_part(name, inner, owners)


def _left_out(hint: Any, default: Any) -> tuple[Any, Any]:
    """The type and the default of an inherited option: `None` if it is not given; the help text shows the value then."""
    return Annotated[hint | None, tyro.conf.arg(help_behavior_hint=f"(default: {default}, or that of --init)")], None


def _shown(declared: Field) -> Any:
    """The default of a setting, as it is typed: for a part, its kind."""
    return kind_of(cast(Settings, declared.default)) if kinds_of(declared) else declared.default


def _option(declared: Field, limits_first: bool) -> tuple[Any, Any]:
    """The type and the default of an option."""
    if _is_parsed(declared):
        return str, str(declared.default)
    hint, limits = _read_from_words(_hint(declared)), note_of(declared).limits
    return Annotated[hint, limits] if limits and limits_first else hint, declared.default


def _hint(declared: Field) -> Any:
    return Literal[names_of(declared)] if note_of(declared).names else declared.type  # type: ignore[misc]


def _is_parsed(declared: Field) -> bool:
    """Whether it is typed as text, which its type parses with `parse`."""
    return hasattr(declared.type, "parse")


def _meant(declared: Field, typed: Any) -> Any:
    return declared.type.parse(typed) if _is_parsed(declared) else typed  # type: ignore[union-attr]


def _parts(config: type[Settings]) -> dict[str, dict[str, type[Settings]]]:
    """The fields of a config with alternative kinds of settings: name → kind → class."""
    kinds = {declared.name: kinds_of(declared) for declared in option_fields(config)}
    return {name: {kind_of(kind): kind for kind in several} for name, several in kinds.items() if several}


def _owners(kinds: Mapping[str, type[Settings]]) -> dict[str, dict[str, Field]]:
    """The settings of parts that are options: name → kind → its declaration there."""
    owners: dict[str, dict[str, Field]] = {}
    for kind, settings in kinds.items():
        for declared in option_fields(settings):
            owners.setdefault(declared.name, {})[kind] = declared
    return owners


def _chosen(part: str, kinds: Mapping[str, type[Settings]], typed: dict[str, Any]) -> Settings:
    """Removes the settings of a part from the typed options, and makes the part."""
    kind, given = typed[part], {}
    for name, owners in _owners(kinds).items():
        value = typed.pop(name)
        if value is not None:
            if kind not in owners:
                raise not_a_setting_here(name, _owner(part, owners))
            given[name] = value
    return kinds[kind](**given)


def _owner(part: str, owners: Mapping[str, Field]) -> str:
    narrower = [note_of(declared).owner for declared in owners.values()]
    return next(filter(None, narrower), f"the {part} {' or '.join(owners)}")


def _option_of_part(part: str, name: str, owners: Mapping[str, Field]) -> tuple[str, Any, Any]:
    """The field of an optional option of a part; the help text names the parts that have it, with their defaults."""
    hint = reduce(or_, [_with_older(name, _read_from_words(_hint(declared))) for declared in owners.values()])
    shown = [f"{part} {kind}, default: {_default(declared)}" for kind, declared in owners.items()]
    shown += [f"{value} is now {_as_options(meant)}" for (setting, value), meant in _OLDER.items() if setting == name]
    return name, Annotated[hint | None, tyro.conf.arg(help_behavior_hint=f"({'; '.join(shown)})")], None


def _default(declared: Field) -> str:
    value = note_of(declared).in_force if declared.default is None else declared.default
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _as_options(settings: Mapping[str, Any]) -> str:
    return " ".join(f"--{name} {value}" for name, value in settings.items() if value is not None)


def _read_from_words(hint: Any) -> Any:
    """Adapts a type for tyro: several values separated by commas or blanks."""
    if get_origin(hint) is not tuple:
        return hint
    one = get_args(hint)[0]
    return Annotated[hint, listed(one, one.__name__.upper())]


def _with_older(name: str, hint: Any) -> Any:
    older = tuple(value for setting, value in _OLDER if setting == name)
    return Literal[(*get_args(hint), *older)] if older else hint


def _in_todays_words(typed: dict[str, Any]) -> dict[str, Any]:
    for (name, value), meant in _OLDER.items():
        if typed.get(name) == value:
            note_renamed(f"{name} {value}", _as_options(meant))
            typed |= meant
    return typed


def _attributes(config: type[Settings], typed: type) -> str:
    """The attributes' documentation in docstrings, base classes first, because tyro uses the last of two entries."""
    described = [config, *(kind for kinds in _parts(config).values() for kind in kinds.values())]
    bases = dict.fromkeys(base for kind in described for base in kind.__mro__ if issubclass(base, Settings))
    sections = [inspect.cleandoc(base.__doc__ or "").partition("\nAttributes:\n")[2] for base in (*reversed(bases), typed)]
    attributes = "\n".join(section.rstrip() for section in sections if section)
    for declared in option_fields(config):
        attributes = re.sub(rf"^( +){declared.name}:", rf"\1{option_name(declared)}:", attributes, flags=re.MULTILINE)
    return attributes
