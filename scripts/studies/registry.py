"""The registry of studies. A study is one file in this folder with a decorated function:

    @study
    def study_windows(context: Context) -> None: ...

The study's name is the file's name with hyphens. The first line of the file is its description in the list of studies. The
decorator `@drawing()` registers the function that draws the page's picture from its tables, for `paradp study redraw`.
"""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from paradp.envs.lookup import find
from paradp.scripts import studies
from paradp.scripts.studies.context import Context

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Measure = Callable[[Context], None]


@dataclass(frozen=True)
class Drawing:
    """A picture of a study's page.

    Attributes:
        draw: draws the picture from the page, and writes it.
        file: name of the picture's file beside the page; by default the page's name with `.png`.
    """

    draw: "Callable[[Path], Figure]"
    file: str | None

    def path(self, page: Path) -> Path:
        return page.with_name(self.file) if self.file else page.with_suffix(".png")


_STUDIES: dict[str, Measure] = {}
_DRAWINGS: dict[str, list[Drawing]] = {}
_Measure = TypeVar("_Measure", bound=Callable[..., None])
_Draw = TypeVar("_Draw", bound="Callable[[Path], Figure]")


def study(measure: _Measure) -> _Measure:
    """Registers a function as the study of its file."""
    _STUDIES[_name(measure)] = measure
    return measure


def drawing(file: str | None = None) -> Callable[[_Draw], _Draw]:
    """Registers a function that draws a picture of its file's page."""

    def mark(draw: _Draw) -> _Draw:
        _DRAWINGS.setdefault(_name(draw), []).append(Drawing(draw, file))
        return draw

    return mark


def find_study(name: str) -> Callable[[], Measure]:
    """A function that imports the study with this name, which takes seconds, and returns it.

    Raises:
        ValueError: no study has this name.
    """
    find(catalogue(), name, "study")
    return partial(_import, name)


def drawings_of(page: Path) -> list[Drawing]:
    """The drawings of a page: those of the study whose name ends the page's name. Imports all studies."""
    _import_all()
    return next((found for name, found in _DRAWINGS.items() if page.stem.endswith(name)), [])


def catalogue() -> dict[str, str]:
    """Name of each study → its description, read from the files of this package without importing them."""
    found = {}
    for path in sorted(path for folder in studies.__path__ for path in Path(folder).glob("*.py")):
        tree = ast.parse(path.read_text())
        if any(isinstance(node, ast.FunctionDef) and _marked(node) for node in tree.body):
            found[path.stem.replace("_", "-")] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


def _import(name: str) -> Measure:
    import_module(f"{__package__}.{name.replace('-', '_')}")
    return _STUDIES[name]


@cache
def _import_all() -> None:
    for name in catalogue():
        _import(name)


def _marked(function: ast.FunctionDef) -> bool:
    return any(isinstance(mark, ast.Name) and mark.id == study.__name__ for mark in function.decorator_list)


def _name(function: Any) -> str:
    return function.__module__.rpartition(".")[2].replace("_", "-")
