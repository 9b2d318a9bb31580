"""Generates pages for `make docs`: the front page from README.md, and the reference from the packages.

Links from a page to a file outside this folder, such as a test, become the file's path: the site has no sources.
"""

import ast
import io
import os
import re
import sys
from contextlib import redirect_stdout, suppress
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from paradp.scripts import main

os.environ["COLUMNS"] = "88"  # width of the printed help

DOCS = Path(__file__).parent
ROOT = DOCS.parent
# Links to all rooms in the layout of the installed package, see the Makefile.
LINKED = ROOT / "build" / "types" / "paradp"
PACKAGES = ("sampler", "policy", "policy.serving", "bridges", "checkpoints", "envs", "rollouts")
ANSI = re.compile(r"\x1b\[[0-9;]*m")
# Patterns for text outside of fenced code: links without a scheme or an anchor, and images that are not links.
FENCE = re.compile(r"^(```.*?^```)$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#:\s]+)\)")
IMAGE = re.compile(r"(?<!\[)(!\[[^\]]*\]\(([^)\s]+)\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages."""
    pages = {
        "index.md": "---\nhide: [navigation]\n---\n" + without_docs((ROOT / "README.md").read_text()),
        "contributing.md": without_docs((ROOT / "CONTRIBUTING.md").read_text()),
        "changelog.md": without_docs((ROOT / "CHANGELOG.md").read_text()),
        "api/commands.md": commands(),
        **{f"api/{package}.md": reference(package) for package in PACKAGES},
    }
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Converts links to folders and to files outside of docs to text, and makes every image open in full."""
    folder = (DOCS / page.file.src_uri).parent

    def written(link: re.Match) -> str:
        text, target = link[1], (folder / link[2]).resolve()
        if not target.exists() or (target.is_file() and target.is_relative_to(DOCS)):
            return link[0]
        path = target.relative_to(ROOT).as_posix()
        return f"`{path}`" if text.strip("`") in path else f"{text} (`{path}`)"

    parts = FENCE.split(markdown)
    parts[::2] = [IMAGE.sub(r"[\1](\2)", LINK.sub(written, part)) for part in parts[::2]]
    return "".join(parts)


def without_docs(text: str) -> str:
    """Adapts the links of a page in the repository's root to this folder."""
    for name, page in (("docs/", ""), ("CONTRIBUTING.md", "contributing.md"), ("CHANGELOG.md", "changelog.md")):
        text = text.replace(f"]({name}", f"]({page}")
    return text


def entry(name: str, **options: str | bool) -> str:
    """Formats an instruction for mkdocstrings: an object and its options."""
    shown = "".join(f"\n      {key}: {str(value).lower()}" for key, value in options.items())
    return f"::: {name}\n" + (f"    options:{shown}\n" if shown else "")


def reference(package: str) -> str:
    """The reference page of a package's exports, in the order of its `__init__.py`."""
    tree = ast.parse((LINKED / package.replace(".", "/") / "__init__.py").read_text())
    found = [
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith(f"paradp.{package}.")
        and not (node.module or "").endswith(".lazy")
        for alias in node.names
    ]
    summary = entry(f"paradp.{package}", members=False, show_root_heading=False, show_root_toc_entry=False)
    return "\n".join([f"# paradp.{package}\n", summary, *map(entry, found)])


def commands() -> str:
    """The page with the `--help` of all commands."""
    found = ["# Commands", "A mistake ends in one sentence and exit code 2. `PARADP_TRACEBACK=1` shows a traceback."]
    for name, command in main.COMMANDS.items():
        found += [
            f"## paradp {name}",
            f"{command.summary[0].upper()}{command.summary[1:]}.",
            f"```text\n{help_of(name)}\n```",
        ]
    return "\n\n".join(found) + "\n"


def help_of(name: str) -> str:
    """The help of a command, as printed on a terminal without colours."""
    printed, before = io.StringIO(), sys.argv
    sys.argv = ["paradp", *name.split(), "--help"]
    try:
        with redirect_stdout(printed), suppress(SystemExit):
            main.main()
    finally:
        sys.argv = before
    return ANSI.sub("", printed.getvalue()).strip()
