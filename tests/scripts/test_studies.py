"""A study is one file, found by its name."""

import ast
import sys
from pathlib import Path

import pytest

from paradp.scripts import studies
from paradp.scripts.studies import registry
from paradp.scripts.studies.context import Context
from paradp.scripts.study import study

STUDY = '''"""What is one and one?"""

from pathlib import Path

from matplotlib.figure import Figure

from paradp.scripts.studies.context import Context
from paradp.scripts.studies.registry import drawing, study


@study
def study_sums(context: Context) -> None:
    """Writes OUT/sums.md."""
    page = context.out / "sums.md"
    page.write_text(f"{context.task}: {1 + 1}")
    draw(page)


@drawing("sum.png")
def draw(page: Path) -> Figure:
    figure = Figure()
    figure.savefig(page.with_name("sum.png"))
    return figure
'''


@pytest.fixture
def added(tmp_path_factory, monkeypatch):
    """A study in a new file, in another folder of the package, because other tests read the real one."""
    folder = tmp_path_factory.mktemp("studies")
    (folder / "sums.py").write_text(STUDY)
    monkeypatch.setattr(studies, "__path__", [*studies.__path__, str(folder)])
    yield
    sys.modules.pop(f"{studies.__name__}.sums", None)


def test_a_study_is_added_by_one_file(added, tmp_path, capsys):
    assert registry.catalogue()["sums"] == "What is one and one?"
    study()
    assert "What is one and one?" in capsys.readouterr().out
    study("sums", "lift", tmp_path)
    assert (tmp_path / "sums.md").read_text() == "lift: 2" and (tmp_path / "sum.png").exists()
    [drawing] = registry.drawings_of(tmp_path / "sums.md")
    assert drawing.path(tmp_path / "sums.md") == tmp_path / "sum.png"


def test_every_study_says_what_it_measures_and_is_found():
    known = registry.catalogue()
    assert len(known) > 20
    for name, question in known.items():
        assert question.endswith((".", "?")) and len(question) < 126, name
    files = Path(registry.__file__).parent.glob("*.py")
    marked = [path for path in files if path.stem != "registry" and "\n@study\n" in path.read_text()]
    assert len(marked) == len(known)
    for path in marked:
        functions = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
        assert [f.name for f in functions if f.name.startswith("study_")] == [f"study_{path.stem}"]


def test_the_error_for_an_unknown_study_lists_all_studies(tmp_path):
    with pytest.raises(ValueError, match=r"unknown study 'rival' — did you mean 'rivals'\? There are: agreement, "):
        registry.find_study("rival")
    assert not list(Context("lift", tmp_path, tmp_path).out.iterdir())
