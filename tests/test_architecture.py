"""The architecture: imports in one direction, rooms without simulators, short files and functions, a sentence per name."""

import ast
import re
import subprocess
import sys
from collections import Counter
from graphlib import TopologicalSorter
from itertools import takewhile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "sampler": set(),
    "policy": {"sampler"},
    "bridges": {"sampler", "policy"},
    "checkpoints": {"sampler", "policy", "bridges"},
    "envs": set(),
    "rollouts": {"sampler", "policy", "checkpoints", "envs"},
    "scripts": {"sampler", "policy", "bridges", "checkpoints", "envs", "rollouts"},
}
# Where a room lies, if not in the directory of its name.
PLACES = {"bridges": "checkpoints/bridges"}
# A distribution of its own, beside LeRobot: it imports that, and none of ours imports it.
PLUGIN = ROOT / "checkpoints/bridges/lerobot_policy_paradp"
# Makes robots by LeRobot when one is asked for; all else knows them by their interface.
LEROBOT = ROOT / "rollouts/realtime/lerobot_devices.py"
SIMULATORS = {"robosuite", "mujoco", "gymnasium"}


def files_of(room: str) -> list[Path]:
    """The files of a room, without files of other rooms inside it."""
    others = {ROOT / place for name, place in PLACES.items() if name != room} | {PLUGIN}
    return [path for path in place_of(room).rglob("*.py") if not others & set(path.parents)]


def place_of(room: str) -> Path:
    return ROOT / PLACES.get(room, room)


def imported(path: Path) -> set[str]:
    """Dotted names of all imports in a file, at any depth."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_point_one_way(room):
    for path in files_of(room):
        names = imported(path)
        rooms = {name.split(".")[1] for name in names if name.startswith("paradp.")}
        assert rooms - {room} <= MAY_IMPORT[room], path
        assert not {name.split(".")[0] for name in names} & MAY_IMPORT.keys(), f"{path} imports a room without paradp."
        top = {name.split(".")[0] for name in names}
        if room in ("sampler", "policy"):
            assert not top & SIMULATORS, path
        if room == "envs":
            assert "torch" not in top, path


def test_the_plugin_of_lerobot_stands_on_bridges_and_environments():
    for path in PLUGIN.rglob("*.py"):
        rooms = {name.split(".")[1] for name in imported(path) if name.startswith("paradp.")}
        assert rooms <= {"bridges", "sampler", "envs"}, path
        source = path.read_text()
        assert len(source.splitlines()) < MOST_LINES and not long_functions(source), path
    imports = {path: {name.split(".")[0] for name in imported(path)} for room in MAY_IMPORT for path in files_of(room)}
    studies = ROOT / "scripts/studies"  # they compare with LeRobot, and are not in the wheel
    assert [path for path, names in imports.items() if "lerobot" in names and studies not in path.parents] == [LEROBOT]
    assert not any(PLUGIN.name in names for names in imports.values())


def test_lerobot_is_imported_only_to_make_a_robot():
    import_at_the_top = [
        node for node in ast.parse(LEROBOT.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    names = {getattr(node, "module", None) or node.names[0].name for node in import_at_the_top}
    assert not {name.split(".")[0] for name in names} & {"lerobot", "draccus"}


def test_a_robot_of_lerobots_needs_no_simulator():
    modules = ("drive", "reports", "wiring", "lerobot_robot", "lerobot_devices")
    program = (
        "import sys\n"
        "for name in ('robosuite', 'mujoco', 'gymnasium', 'lerobot', 'draccus'): sys.modules[name] = None\n"
        + "".join(f"import paradp.rollouts.realtime.{name}\n" for name in modules)
        + "print('ok')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "ok\n", done.stderr


# Of the files of sampler/ by their wings: settings know no rounds, and the backends are found by their names alone.
BACKENDS = {"rounds.torch", "rounds.numba", "rounds.triton"}
SAMPLER_MAY_NOT = {
    "solvers": {*BACKENDS, "builders", "names"},
    "rounds/base.py": {"solvers", *BACKENDS},
    "rounds/captured.py": {"solvers", *BACKENDS},
    "rounds/run.py": {"solvers", *BACKENDS},
    "rounds/windows.py": {"solvers", *BACKENDS},
    "rounds/backends.py": {"solvers", *BACKENDS},
    "rounds/torch": {"rounds.numba", "rounds.triton", "rounds.backends", "builders", "names"},
    "rounds/numba": {"rounds.triton", "rounds.backends", "builders", "names"},
    "rounds/triton": {"rounds.numba", "rounds.backends", "builders", "names"},
    "schedules": {"solvers", "rounds", "builders", "names"},
}


@pytest.mark.parametrize("wing", SAMPLER_MAY_NOT)
def test_settings_and_rounds_of_a_solver_do_not_import_each_other(wing):
    place = ROOT / "sampler" / wing
    for path in [place] if place.is_file() else place.rglob("*.py"):
        for name in imported(path):
            inside = name.removeprefix("paradp.sampler.")
            assert not any(inside == no or inside.startswith(f"{no}.") for no in SAMPLER_MAY_NOT[wing]), f"{path}: {name}"


# Of policy/: which wings one may import, besides the files beside them.
POLICY_MAY = {
    "files": set(),
    "networks": {"files"},
    "data": {"files"},
    "engines": {"files", "networks"},
    "learning": {"files", "networks", "data", "engines"},
    "control": {"files", "engines"},
    "serving": {"files", "control"},
}


@pytest.mark.parametrize("wing", POLICY_MAY)
def test_wings_of_a_policy_import_those_below_them(wing):
    for path in (ROOT / "policy" / wing).rglob("*.py"):
        wings = {name.split(".")[2] for name in imported(path) if name.startswith("paradp.policy.")} & POLICY_MAY.keys()
        assert wings - {wing} <= POLICY_MAY[wing], path


# Of rollouts/: likewise; the files beside the wings that those may import know of none of them.
ROLLOUTS_MAY: dict[str, set[str]] = {
    "machine.py": set(),
    "naming.py": set(),
    "statistics.py": set(),
    "workers.py": set(),
    "episodes": set(),
    "evaluation": {"episodes"},
    "realtime": {"episodes"},
    "imports": {"episodes"},
}


@pytest.mark.parametrize("wing", ROLLOUTS_MAY)
def test_wings_of_rollouts_import_those_below_them(wing):
    place = ROOT / "rollouts" / wing
    wings = {name for name in ROLLOUTS_MAY if (ROOT / "rollouts" / name).is_dir()}
    for path in [place] if place.is_file() else place.rglob("*.py"):
        names = {name.split(".")[2] for name in imported(path) if name.startswith("paradp.rollouts.")}
        assert (names & wings) - {wing} <= ROLLOUTS_MAY[wing], path
        assert names - wings <= {Path(name).stem for name in ROLLOUTS_MAY}, path


def module_graph(room: str) -> dict[str, set[str]]:
    """For every module of a room, the modules of the same room that it imports, at any depth."""
    names = {
        ".".join(("paradp", room, *path.relative_to(place_of(room)).with_suffix("").parts)): path for path in files_of(room)
    }
    return {name: {other for other in imported(path) if other in names} for name, path in names.items()}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_no_module_imports_itself_through_others(room):
    graph = module_graph(room)
    assert len(graph) > 5
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError, which names the modules


@pytest.mark.parametrize("room", ["sampler", "policy", "bridges", "checkpoints"])
def test_policies_need_no_simulator(room):
    """With robosuite, mujoco and gymnasium out of reach, as on a robot or a GPU node."""
    program = (
        "import sys\n"
        "for name in ('robosuite', 'mujoco', 'gymnasium'): sys.modules[name] = None\n"
        f"import paradp.{room} as room\n"
        "for name in room.__all__: getattr(room, name)\n"  # packages import what they export when it is first used
        "import paradp.sampler.names, paradp.policy.control.controller\n"
        "print('ok')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "ok\n", done.stderr


def test_environments_need_no_torch():
    program = "import sys; sys.modules['torch'] = None; import paradp.envs; print('ok')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "ok\n", done.stderr


def test_every_package_is_shipped():
    import tomllib

    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    there = {
        ".".join(("paradp", room, *path.parent.relative_to(place_of(room)).parts))
        for room in MAY_IMPORT
        for path in files_of(room)
        if path.name == "__init__.py"
    }
    assert listed == there - {"paradp.scripts.studies"}  # they are for the repository's own pages


def test_nothing_is_pickled():
    for room in MAY_IMPORT:
        for path in files_of(room):
            names = {name.split(".")[0] for name in imported(path)}
            assert not names & {"pickle", "dill", "cloudpickle", "joblib", "shelve"}, path
            assert "torch.load" not in path.read_text() and "allow_pickle" not in path.read_text(), path


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_type_checkers_read_the_annotations(room):
    import tomllib

    assert (place_of(room) / "py.typed").is_file()
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["*"] == ["py.typed"]


@pytest.mark.parametrize("room", sorted(MAY_IMPORT.keys() - {"scripts"}))
def test_a_library_logs_and_does_not_print(room):
    for path in files_of(room):
        names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        assert "print" not in names, path


def test_a_class_name_exists_once():
    """Except for `Flags`, which every command has."""
    names = Counter(
        node.name
        for room in MAY_IMPORT
        for path in (ROOT / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, times in names.items() if times > 1] == ["Flags"]


FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def public(node: ast.AST) -> list:
    """Public classes and functions in a module or class."""
    return [one for one in node.body if isinstance(one, (ast.ClassDef, *FUNCTION)) and not one.name.startswith("_")]


def without_a_sentence(trees: dict[str, ast.Module]) -> list[str]:
    """Public modules, classes, functions and methods without a docstring.

    A method needs none if its class describes it under "Attributes", or if another class documents a method of its name,
    as the interface that it implements does.
    """
    classes = [one for tree in trees.values() for one in ast.walk(tree) if isinstance(one, ast.ClassDef)]
    documented = {
        one.name for owner in classes for one in owner.body if isinstance(one, FUNCTION) and ast.get_docstring(one)
    }
    found = [name for name, tree in trees.items() if not ast.get_docstring(tree)]
    for name, tree in trees.items():
        found += [f"{name}: {one.name}" for one in public(tree) if not ast.get_docstring(one)]
        for owner in (one for one in public(tree) if isinstance(one, ast.ClassDef)):
            described = documented | set(re.findall(r"\w+", ast.get_docstring(owner) or ""))
            methods = [one for one in public(owner) if isinstance(one, FUNCTION) and not ast.get_docstring(one)]
            found += [f"{name}: {owner.name}.{one.name}" for one in methods if one.name not in described]
    return found


def test_every_public_name_has_a_sentence():
    paths = [path for room in MAY_IMPORT for path in files_of(room)]
    assert without_a_sentence({str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in paths}) == []


def test_docstrings_begin_with_what_a_thing_is_or_does():
    """Rule 1 of docs/plain-english.md."""
    for path in (path for room in MAY_IMPORT for path in files_of(room)):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Module, ast.ClassDef, *FUNCTION)):
                assert not (ast.get_docstring(node) or "").startswith(("What ", "Of ", "Where ", "Who ")), path


def test_a_public_name_without_a_sentence_is_detected():
    source = """
class Interface:
    '''An interface with attributes: size.'''
    def shown(self): '''Is documented.'''
    def size(self): ...
    def other(self): ...
class Implements:
    def shown(self): ...
    def _own(self): ...
def f(): ...
"""
    assert without_a_sentence({"a.py": ast.parse(source)}) == [
        "a.py",
        "a.py: Implements",
        "a.py: f",
        "a.py: Interface.other",
    ]


MOST_LINES, LONGEST_FUNCTION = 300, 40


def long_functions(source: str) -> list[str]:
    """Names of functions that are too long and lack a comment `# Long: …` with the reason directly above."""
    lines = source.splitlines()
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno >= LONGEST_FUNCTION:
            first = min([node.lineno, *(mark.lineno for mark in node.decorator_list)])
            above = list(takewhile(lambda line: line.lstrip().startswith("#"), reversed(lines[: first - 1])))
            if not any(line.lstrip().startswith("# Long: ") for line in above):
                found.append(node.name)
    return found


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_files_and_functions_are_short(room):
    for path in files_of(room):
        source = path.read_text()
        assert len(source.splitlines()) < MOST_LINES, path
        assert not long_functions(source), path


@pytest.mark.parametrize(
    ("before", "lines", "found"),
    [
        ("", 40, []),
        ("", 41, ["f"]),
        ("@cache\n", 40, []),
        ("# Long: it is one table.\n", 41, []),
        ("# Long: it is one table,\n# and its parts.\n@cache\n", 41, []),
        ("# It is long.\n", 41, ["f"]),
        ("# Long: it is one table.\n\n", 41, ["f"]),
    ],
)
def test_a_long_function_needs_a_reason(before, lines, found):
    assert long_functions(f"x = 1\n{before}def f():\n" + "    pass\n" * (lines - 1)) == found
