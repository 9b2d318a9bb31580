"""README.md and the guides in docs: every snippet runs as printed, every command can be read, every link leads somewhere."""

import importlib
import inspect
import re
import shlex
import subprocess
import sys
import tomllib
import venv
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from paradp.scripts import main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
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


@dataclass(frozen=True)
class Expected:
    """What a snippet prints, whether it talks to a server, whether it takes long, and packages of others that it needs."""

    prints: str = ""
    server: bool = False
    slow: bool = False
    packages: tuple[str, ...] = ()


# Snippets that are not listed run, too.
EXPECTED = {
    "README.md-python-1": Expected(r"success: True\n"),
    "README.md-python-2": Expected(r"torch\.Size\(\[4, 16, 10\]\) .*True, True, True, True"),
    "any-model.md-python-1": Expected(
        r"(torch\.Size\(\[2, 3, 8, 8\]\) \[\d+, \d+\] rounds instead of 1000\n){2}", slow=True
    ),
    "bridges.md-python-1": Expected(r"torch\.Size\(\[3, 16, 2\]\) \[\d+, \d+, \d+\]"),
    "control-loop.md-python-1": Expected(r"success: .*stopped=None", slow=True),
    "control-loop.md-python-2": Expected(r"success: .*stopped=None", server=True, slow=True),
    "control-loop.md-python-3": Expected(
        r"\(15, 10\)", server=True, slow=True, packages=("openpi-client==0.1.2", "typing_extensions")
    ),
}


def blocks(page: Path, *languages: str) -> list[Block]:
    found = FENCE.findall(page.read_text())
    counts = dict.fromkeys(languages, 0)
    chosen = []
    for language, text in found:
        if language in counts:
            counts[language] += 1
            chosen.append(Block(page, language, counts[language], text))
    return chosen


def snippets() -> list:
    every = [block for page in PAGES for block in blocks(page, "python")]
    slow = {str(block) for block in every if EXPECTED.get(str(block), Expected()).slow}
    return [pytest.param(block, id=str(block), marks=[pytest.mark.slow] * (str(block) in slow)) for block in every]


@pytest.mark.parametrize("block", snippets())
def test_a_snippet_runs_as_it_is_printed(block, tmp_path, served):
    """In a process and a folder of its own, with what the page defines in it, and nothing else."""
    expected = EXPECTED.get(str(block), Expected())
    script = tmp_path / "snippet.py"
    script.write_text(block.text)
    python = python_with(expected.packages, tmp_path / "venv") if expected.packages else sys.executable
    with served(key="secret") if expected.server else nullcontext([None]) as (uri, *_):
        command = [python, script, *([uri] if uri else [])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(expected.prints, done.stdout, re.DOTALL), done.stdout


def python_with(packages: tuple[str, ...], folder: Path) -> Path:
    """An environment that has these packages, and not ours."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    installed = subprocess.run(install, capture_output=True, text=True)
    assert installed.returncode == 0, installed.stderr
    return python


def test_what_is_expected_is_of_snippets_that_are_there():
    assert EXPECTED.keys() <= {param.id for param in snippets()}


def commands() -> list:
    """The lines of blocks that call `paradp` or `make`, and the calls in running text."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for line in (line for block in blocks(page, "sh", "") for line in block.text.splitlines()):
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
                words.pop(0)
            if words[:1] in (["paradp"], ["make"]):
                found.append(pytest.param(words, False, id=f"{page.name}: {' '.join(words)}"))
        for call in IN_PROSE.findall(FENCE.sub("", text)):
            found.append(pytest.param(call.split(), True, id=f"{page.name}, in prose: {call}"))
    return list({param.id: param for param in found}.values())


@contextmanager
def read_but_not_run(function):
    """The command line reads what was typed for a command as ever; the command does nothing."""
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


@pytest.mark.parametrize(("words", "in_prose"), commands())
def test_a_command_is_read(words, in_prose, monkeypatch, capsys):
    program, *arguments = words
    if program == "make":
        assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return
    command = command_of(arguments)
    if in_prose and arguments == name_of(arguments).split():
        return  # its name alone
    monkeypatch.setattr(sys, "argv", words)
    try:
        with read_but_not_run(command):
            main.main()
    except SystemExit as end:
        pytest.fail(f"{' '.join(words)} ends with {end.code}: {capsys.readouterr().err}")


def test_a_command_that_is_not_there_is_noticed():
    for words in (["paradp", "rollout", "square", "--smplr", "ddpm"], ["paradp", "train", "square", "--steps", "many"]):
        with pytest.raises((SystemExit, pytest.fail.Exception)), pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", words)
            with read_but_not_run(command_of(words[1:])):
                main.main()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_says_what_it_is_in(page):
    assert {language for language, _ in FENCE.findall(page.read_text())} <= {"python", "sh", "toml", "text"}
    for block in blocks(page, "toml"):
        assert tomllib.loads(block.text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"https?://|mailto:", link):
            continue
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if heading:
            assert heading in headings(target), link


def headings(page: Path) -> set[str]:
    """As GitHub makes anchors of them."""
    lines = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.strip().lower()).replace(" ", "-") for line in lines}
