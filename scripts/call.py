"""Calls a command: tyro parses the arguments and numbers are checked, before anything slow is imported."""

import functools
import inspect
import re
import shutil
import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import Field, fields, is_dataclass
from typing import Annotated, Any, get_args, get_type_hints

import tyro

from paradp.policy.errors import SettingError
from paradp.policy.settings import Limits
from paradp.sampler.lookup import note_renamed
from paradp.scripts.lists import joined
from paradp.scripts.mistakes import parsed

TaskName = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TASK")]
PolicyName = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="POLICY")]
Count = Annotated[int, Limits(1, 1_000_000)]
# Largest number of processes, threads or environments.
Several = Annotated[int, Limits(1, 4096)]
NoneOrMore = Annotated[int, Limits(0, 1_000_000)]
Seed = Annotated[int, Limits(0, 2**32 - 1)]  # seed of an episode, see `paradp.sampler.streams`
Positive = Annotated[float, Limits(0, 1e6, above=True)]


# A command's old option → its present name. The old one is still accepted, with a note.
RENAMED_OPTIONS = {"--joining": "--blending"}


def call(command: Callable[..., None], prog: str, arguments: list[str]) -> None:
    """Parses the arguments and calls the command with them.

    Raises:
        SystemExit: help was requested.
        ValueError: the arguments cannot be parsed, or a number is outside its limits.
    """
    width = shutil.get_terminal_size().columns
    arguments = _with_todays_options(
        joined(arguments, "task" in inspect.signature(command).parameters), options(command).values()
    )
    run = checked(command)

    @functools.wraps(run)
    def deferred(*args: Any, **kwargs: Any) -> Callable[[], None]:
        return functools.partial(run, *args, **kwargs)

    # As above, tyro reads the signature of the command; it calls what only notes the arguments.
    parse = functools.partial(tyro.cli, deferred, prog=prog, args=arguments, description=description(command, width))
    parsed(parse, prog, options(command).values())()


def _with_todays_options(arguments: list[str], known: Collection[str]) -> list[str]:
    """Replaces old names of the command's options in the arguments, with a note for each."""
    found = []
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if (now := RENAMED_OPTIONS.get(option)) in known:
            note_renamed(option, str(now))
            argument = f"{now}{equals}{value}"
        found.append(argument)
    return found


def description(command: Callable[..., None], width: int) -> str:
    """The part of a command's docstring before its arguments, wrapped; examples keep their lines.

    Every line begins with a blank, because tyro joins lines that begin with a letter, and does not wrap.
    """
    text = inspect.cleandoc(command.__doc__ or "").partition("\nArgs:")[0].strip("\n")
    paragraphs = [
        paragraph if paragraph.startswith("    ") else textwrap.fill(" ".join(paragraph.split()), width - 2)
        for paragraph in text.split("\n\n")
    ]
    return textwrap.indent("\n\n".join(paragraphs), " ")


def checked(command: Callable[..., None]) -> Callable[..., None]:
    """Wraps a command so that its numbers are checked against the limits in their types."""

    @functools.wraps(command)
    def check_and_run(*args: Any, **kwargs: Any) -> None:
        hints = get_type_hints(command, include_extras=True)
        for name, value in inspect.signature(command).bind(*args, **kwargs).arguments.items():
            _check(name, value, hints[name])
        try:
            command(*args, **kwargs)
        except SettingError as error:
            raise ValueError(as_typed(error, options(command))) from error

    # tyro reads docstring and signature of the wrapped function.
    del check_and_run.__wrapped__  # type: ignore[attr-defined]
    check_and_run.__signature__ = inspect.signature(command)  # type: ignore[attr-defined]
    check_and_run.__doc__ = unbroken(command.__doc__ or "")
    return check_and_run


def options(command: Callable[..., None]) -> dict[str, str]:
    """A command's settings: name in Python → option."""
    hints = get_type_hints(command, include_extras=True)
    named = [name for name, hint in hints.items() if name != "return" and not _is_positional(hint) and not _fields(hint)]
    inner = [field.name for hint in hints.values() for field in _fields(hint)]
    return {name: f"--{name.replace('_', '-')}" for name in (*named, *inner)}


def as_typed(error: SettingError, known: Mapping[str, str]) -> str:
    """An error message with the settings replaced by their options.

    A name that is an ordinary word, such as `steps`, is only replaced before " must" or ": ".
    """
    text = str(error)
    for name in error.settings:
        if name in known:
            after = "" if "_" in name else "(?= must|: )"
            text = re.sub(rf"(?<![\w/.-]){re.escape(name)}(?![\w/.-]){after}", known[name], text)
    return text


def _is_positional(hint: Any) -> bool:
    return tyro.conf.Positional[Any].__metadata__[0] in getattr(hint, "__metadata__", ())  # type: ignore[misc]


def _fields(hint: Any) -> tuple[Field, ...]:
    """The fields of a dataclass whose fields are options."""
    kind = get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
    return fields(kind) if is_dataclass(kind) else ()


def unbroken(docstring: str) -> str:
    """A docstring with one line per argument, because tyro keeps line breaks."""
    head, args, arguments = inspect.cleandoc(docstring).partition("\nArgs:\n")
    return head + args + re.sub(r"\n {8,}", " ", arguments)


def _check(name: str, value: Any, hint: Any) -> None:
    if is_dataclass(value):
        inner = get_type_hints(type(value), include_extras=True)
        for field in fields(value):
            _check(field.name, getattr(value, field.name), inner[field.name])
        return
    limits = next(_limits(hint), None)
    for number in value if isinstance(value, tuple) else (value,):
        if limits and number is not None and (problem := limits.problem(number)):
            raise ValueError(f"--{name.replace('_', '-')} {problem}, not {number}")


def _limits(hint: Any) -> Iterator[Limits]:
    """The limits in a type such as `Count`, `Count | None`, `tuple[Count, ...]`."""
    yield from (note for note in getattr(hint, "__metadata__", ()) if isinstance(note, Limits))
    for inner in get_args(hint):
        yield from _limits(inner)
