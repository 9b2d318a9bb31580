"""The code blocks and commands of README.md and of the guides, and a parser that reads a command without running it.

`python -m documented PAGE` reads the commands of one page, with the entry points that are on the path.
"""

import importlib
import inspect
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from paradp.scripts import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
IN_PROSE = re.compile(r"`(paradp [^`…]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, such as the second one in Python."""

    page: Path
    language: str
    number: int
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}-{self.language}-{self.number}"


def blocks(page: Path, *languages: str) -> list[Block]:
    found = FENCE.findall(page.read_text())
    counts = dict.fromkeys(languages, 0)
    chosen = []
    for language, text in found:
        if language in counts:
            counts[language] += 1
            chosen.append(Block(page, language, counts[language], text))
    return chosen


def commands(page: Path) -> Iterator[tuple[list[str], bool]]:
    """The words of the lines in blocks that call `paradp` or `make`, and of the calls in running text."""
    for line in (line for block in blocks(page, "sh", "") for line in joined(block.text).splitlines()):
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            words.pop(0)
        if words[:1] in (["paradp"], ["make"]):
            yield words, False
    for call in IN_PROSE.findall(FENCE.sub("", page.read_text())):
        yield call.split(), True


def joined(text: str) -> str:
    """A shell's text with each command in one line: a line that ends in a backslash goes on in the next."""
    return text.replace("\\\n", " ")


def read(words: list[str], in_prose: bool = False) -> None:
    """Parses these words with the command line, without running the command.

    Raises:
        SystemExit: they are not a command.
    """
    program, *arguments = words
    if program == "make":
        assert all(re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE) for target in arguments[:1])
        return
    command = command_of(arguments)
    if in_prose and arguments == name_of(arguments).split():
        return  # its name alone
    before, sys.argv = sys.argv, words
    try:
        with read_but_not_run(command):
            main.main()
    finally:
        sys.argv = before


@contextmanager
def read_but_not_run(function):
    """Parses the arguments of a command, without running it."""
    signature, code = inspect.signature(function), function.__code__
    function.__signature__, function.__code__ = signature, (lambda *_, **__: None).__code__
    try:
        yield
    finally:
        function.__code__ = code
        del function.__signature__


def command_of(words: list[str]):
    """The function behind `rollout …` or `data import …`."""
    command = main.COMMANDS[name_of(words)]
    return getattr(importlib.import_module(f"paradp.scripts.{command.module}"), command.function)


def name_of(words):
    """A command's name, of one word or two, such as `data import`."""
    return next(name for name in (" ".join(words[:2]), words[0]) if name in main.COMMANDS)


if __name__ == "__main__":
    for words, in_prose in commands(Path(sys.argv[1])):
        read(words, in_prose)
        print("read:", *words)
