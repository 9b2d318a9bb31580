"""README.md and the guides: every snippet runs as printed, every command can be parsed, every link leads somewhere."""

import re
import subprocess
import sys
import tomllib
import venv
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest
from documented import FENCE, PAGES, ROOT, blocks, commands, read

from paradp.checkpoints import find_checkpoint, pretrained

# Its commands are of what it adds; tests/scripts/test_extending.py reads them where that is installed.
EXTENDING = ROOT / "docs/extend.md"
LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Expected:
    """The expectations of a snippet: its output, whether it needs a server or takes long, and the packages that it needs."""

    prints: str = ""
    server: bool = False
    slow: bool = False
    packages: tuple[str, ...] = ()


# Snippets that are not listed run, too.
EXPECTED = {
    "README.md-python-1": Expected(r"success: True\n"),
    "evaluate.md-python-1": Expected(r"success [\d.]+, 5\.0 rounds a plan,\n[\d.]+ ms a plan on \w+\n", slow=True),
    "start.md-python-1": Expected(r"'lift'.* 20 Hz Horizons"),
    "any-model.md-python-1": Expected(
        r"(torch\.Size\(\[2, 3, 8, 8\]\) \[\d+, \d+\] rounds instead of 1000\n){2}", slow=True
    ),
    "your-own-task.md-python-3": Expected(r"\['agent_pos'\] \(96, 96, 3\)"),
    "bridges.md-python-1": Expected(r"torch\.Size\(\[3, 16, 2\]\) \[\d+, \d+, \d+\]"),
    "control-loop.md-python-1": Expected(r"success: .*stopped=None", slow=True),
    "control-loop.md-python-2": Expected(r"success: .*stopped=None", server=True, slow=True),
    "control-loop.md-python-3": Expected(
        r"\(15, 10\)", server=True, slow=True, packages=("openpi-client==0.1.2", "typing_extensions")
    ),
}


def snippets() -> list:
    every = [block for page in PAGES for block in blocks(page, "python")]
    slow = {str(block) for block in every if EXPECTED.get(str(block), Expected()).slow}
    return [pytest.param(block, id=str(block), marks=[pytest.mark.slow] * (str(block) in slow)) for block in every]


@pytest.mark.parametrize("block", snippets())
def test_a_snippet_runs_as_it_is_printed(block, tmp_path, served):
    """In a separate process and folder, with only the definitions of the page."""
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
    """An environment with these packages, but without paradp."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    installed = subprocess.run(install, capture_output=True, text=True)
    assert installed.returncode == 0, installed.stderr
    return python


def test_every_expectation_belongs_to_a_snippet():
    assert EXPECTED.keys() <= {param.id for param in snippets()}


def every_command() -> list:
    found = {}
    for page in (page for page in PAGES if page != EXTENDING):
        for words, in_prose in commands(page):
            name = f"{page.name}{', in prose' * in_prose}: {' '.join(words)}"
            found[name] = pytest.param(words, in_prose, id=name)
    return list(found.values())


@pytest.mark.parametrize(("words", "in_prose"), every_command())
def test_every_command_is_parsed(words, in_prose, capsys):
    try:
        read(words, in_prose)
    except SystemExit as end:
        pytest.fail(f"{' '.join(words)} ends with {end.code}: {capsys.readouterr().err}")


def test_an_unknown_command_is_detected():
    for words in ("paradp rollout square --smplr ddpm", "paradp train square --steps many", "make sandwiches"):
        with pytest.raises((SystemExit, AssertionError)):
            read(words.split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_names_its_language(page):
    assert {language for language, _ in FENCE.findall(page.read_text())} <= {"python", "sh", "toml", "text"}
    for block in blocks(page, "toml"):
        assert tomllib.loads(block.text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_have_targets(page):
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"https?://|mailto:", link):
            continue
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if heading:
            assert heading in headings(target), link


def headings(page: Path) -> set[str]:
    """The headings of a page as anchors, as GitHub makes them."""
    lines = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.strip().lower()).replace(" ", "-") for line in lines}


def test_the_table_of_shipped_policies_agrees_with_their_cards():
    row = (
        r"^\| `([\w-]+)` \| .*?: (\d+)(?: values)? \| .*? \| (\d+) \| (\d+) Hz "
        r"\| (\S+ \(\S+\))(?:, mean reward (\S+) .*)? \|$"
    )
    rows = re.findall(row, (ROOT / "docs/start.md").read_text(), re.MULTILINE)
    assert {name for name, *_ in rows} == set(pretrained())
    for name, values, episodes, hz, success, reward in rows:
        card = (find_checkpoint(name) / "README.md").read_text()
        observed = re.findall(r" (\d+)(?:,| \|$)", re.search(r"^\| observation \|.*", card, re.MULTILINE)[0])
        assert sum(map(int, observed)) == int(values)
        assert f"| control rate | {hz} Hz |" in card and f"## Data\n{episodes} episodes" in card
        measured = f"- ddpm: success {success.replace('(', '(95 % ')}" + f", reward {reward} (" * bool(reward)
        assert measured in card


def plain(text: str) -> str:
    """Text in one line, without the characters of comments, markdown and quotes."""
    return " ".join(re.sub(r"[`*#\"]", "", text).split())


def test_the_page_on_plain_english_quotes_the_current_code():
    page = (ROOT / "docs/plain-english.md").read_text()
    sections = re.findall(r"^### `(.+?)`\n(.*?)(?=^### |\Z)", page, re.MULTILINE | re.DOTALL)
    assert len(sections) == 10
    for path, section in sections:
        now = plain((ROOT / path).read_text())
        for after in re.findall(r"^after   (?:class \w+: )?(.+)$", section, re.MULTILINE):
            assert plain(after).rstrip(".") in now, f"{path}: {after}"
