"""What `make docs` adds to the pages in this folder: the front page from README.md, and the reference from the packages.

Links from a page to a file outside this folder, such as a test, become the file's path: the site has no sources.
"""

import ast
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

DOCS = Path(__file__).parent
ROOT = DOCS.parent
PACKAGES = ("sampler", "policy", "policy.serving", "checkpoints", "envs", "rollouts")
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#:\s]+)\)")
# Every image stands alone and can be opened in full.
IMAGE = re.compile(r"(?<!\[)(!\[[^\]]*\]\(([^)\s]+)\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are made here."""
    pages = {
        "index.md": without_docs((ROOT / "README.md").read_text()),
        "contributing.md": without_docs((ROOT / "CONTRIBUTING.md").read_text()),
        "changelog.md": without_docs((ROOT / "CHANGELOG.md").read_text()),
        "api/commands.md": commands(),
        **{f"api/{package}.md": reference(package) for package in PACKAGES},
    }
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to folders and to files outside of docs become text."""
    folder = (DOCS / page.file.src_uri).parent

    def written(link: re.Match) -> str:
        text, target = link[1], folder / link[2]
        inside = files.get_file_from_path(str(Path(page.file.src_uri).parent / link[2])) or link[2].endswith(".md")
        if inside and not target.is_dir() and target.resolve().is_relative_to(DOCS):
            return link[0]
        path = target.resolve().relative_to(ROOT).as_posix()
        return f"`{path}`" if text.strip("`") in path else f"{text} (`{path}`)"

    return IMAGE.sub(r"[\1](\2)", LINK.sub(written, markdown))


def without_docs(text: str) -> str:
    """A page of the repository's root as one of this folder."""
    return (
        text.replace("](docs/", "](").replace("](CONTRIBUTING.md", "](contributing.md").replace("](README.md", "](index.md")
    )


def reference(package: str) -> str:
    """What a package exports, in the order of its `__init__.py`."""
    init = ROOT / package.replace(".", "/") / "__init__.py"
    tree = ast.parse(init.read_text())
    found = [
        (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"paradp.{package}.")
        for alias in node.names
        if not alias.name.startswith("_")
    ]
    objects = "\n\n".join(f"::: {module}.{name}" for module, name in found)
    summary = f"::: paradp.{package}\n    options:\n      members: false\n      show_root_heading: false\n      show_root_toc_entry: false"
    return f"# paradp.{package}\n\n{summary}\n\n{objects}\n"


def commands() -> str:
    """Every command of `paradp` by its docstring."""
    tree = ast.parse((ROOT / "scripts/main.py").read_text())
    [table] = [node for node in ast.walk(tree) if isinstance(node, ast.Dict) and len(node.keys) > 5]
    found = []
    for name, command in zip(table.keys, table.values, strict=True):
        module, function = (argument.value for argument in command.args[:2])
        options = (
            f"    options:\n      heading: paradp {name.value}\n      toc_label: {name.value}\n      show_signature: false"
        )
        found.append(f"::: paradp.scripts.{module}.{function}\n{options}\n      show_symbol_type_heading: false")
    about = (
        "Every command shows all its options with `--help`, their defaults and those of how a network is computed included."
    )
    return f"# Commands\n\n{about}\n\n" + "\n\n".join(found) + "\n"
