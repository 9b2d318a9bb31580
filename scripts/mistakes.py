"""One sentence for arguments that tyro cannot parse; tyro itself writes boxes of many lines."""

import contextlib
import io
import os
import re
import sys
import textwrap
from collections.abc import Callable, Collection, Iterator
from difflib import get_close_matches
from typing import TypeVar

T = TypeVar("T")

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_RULE = re.compile(r" *(─|-){3,}$")
# tyro's message for one value of an option → ours; the first that is found counts.
_OF_A_VALUE = {
    r"invalid literal for int\(\) with base 10: ('.*?')": "{} is not a whole number",
    r"could not convert string to float: ('.*?')": "{} is not a number",
}
# Wider than any message, so that tyro does not break a name.
_WIDE = "10000"


def parsed(parse: Callable[[], T], prog: str, known: Collection[str]) -> T:
    """Parses arguments, and puts tyro's errors in a sentence.

    Args:
        parse: calls tyro.
        prog: the command as typed, such as `paradp rollout`.
        known: the command's options.

    Raises:
        ValueError: the arguments cannot be parsed.
        SystemExit: help was requested, or tyro's error is of no kind that is known here; it is printed then.
    """
    said, wide = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return parse()
    except SystemExit as ended:
        if ended.code:
            with contextlib.suppress(SystemExit), contextlib.redirect_stderr(wide), _columns(_WIDE):
                parse()
        if sentence := sentence_of(wide.getvalue(), known):
            said.truncate(0)
            raise ValueError(f"{sentence}{' See' if sentence.endswith('?') else '; see'} {prog} --help") from None
        raise
    finally:
        sys.stderr.write(said.getvalue())


def sentence_of(box: str, known: Collection[str]) -> str:
    """The sentence for a box of tyro's; empty if it is of no known kind.

    Args:
        box: the lines, as wide as they need.
        known: the command's options.
    """
    lines = _first_part(box)
    text = " ".join(lines)
    if found := re.match(r"Unrecognized options: (.*)", text):
        return _unrecognised(found[1].split(", "), known)
    if text.startswith("Missing from "):
        names = [line.split()[0] for line in lines[1:] if re.match(r" {4}\S", line)]
        return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} missing"
    if found := re.match(r"Missing value for argument '(.*?)'", text):
        return f"{found[1]} needs a value" if found[1].startswith("-") else f"{found[1].upper()} is missing"
    if found := re.match(r"invalid choice ('.*?') for argument '(.*?)'\. Expected one of \((.*)\)", text):
        choices = [choice for choice in re.findall(r"'(.*?)'", found[3]) if choice != "None"]
        return f"{found[2]}: {found[1]} is none of {', '.join(choices)}"
    if found := re.match(r"Error parsing (\S+): (.*)", text):
        values = (ours.format(value[1]) for theirs, ours in _OF_A_VALUE.items() if (value := re.search(theirs, text)))
        return f"{found[1]}: {next(values, found[2])}"
    return ""


def _unrecognised(words: list[str], known: Collection[str]) -> str:
    options = [word.partition("=")[0] for word in words if word.startswith("-")]
    if not options:
        return f"nothing takes {', '.join(words)!r}: remove it, or write the option before it"
    if options[0].startswith("--no-"):  # the option may take a value, and then has no such form
        return f"there is no option {options[0]}"
    near = get_close_matches(options[0].lower().strip("-"), [option.strip("-") for option in known], n=1)
    return f"there is no option {options[0]}" + (f" — did you mean --{near[0]}?" if near else "")


def _first_part(box: str) -> list[str]:
    """The lines of a box between its title and its first rule. Where the encoding has no lines for boxes, it has blanks."""
    lines = [line.strip("│").rstrip() for line in _COLOUR.sub("", box).splitlines()[1:]]
    if lines and _RULE.match(lines[0]):
        del lines[0]
    end = next((i for i, line in enumerate(lines) if _RULE.match(line)), len(lines))
    return textwrap.dedent("\n".join(lines[:end])).splitlines()


@contextlib.contextmanager
def _columns(number: str) -> Iterator[None]:
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = number
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
