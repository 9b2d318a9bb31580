"""Which extra of paradp brings a package that is not installed."""

import re
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec
from pathlib import Path

# Where the module has another name than its package.
_PACKAGES = {"PIL": "pillow", "rerun": "rerun-sdk"}
# Among the extras that bring a package, these say least of what is missing.
_COLLECTIONS = ("all", "dev")
_NEEDED = re.compile(r"(?P<package>[\w.-]+).*\bextra == ['\"](?P<extra>\w+)['\"]")


def check_installed(*modules: str) -> None:
    """Checks, importing nothing, that these modules can be imported.

    Raises:
        ModuleNotFoundError: one is not installed; `missing_extra` says what to install.
    """
    for module in modules:
        if find_spec(module) is None:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)


def missing_extra(error: ModuleNotFoundError) -> str | None:
    """What to install where a command could not import a package; `None` where no extra brings it: then it is a bug."""
    return what_to_install((error.name or "").partition(".")[0])


def what_to_install(module: str) -> str | None:
    """What to install for the sake of a module that is not there, in a sentence; `None` where no extra brings it."""
    package = _normalised(_PACKAGES.get(module, module))
    found = filter(None, map(_NEEDED.match, _requirements()))
    extras = [one["extra"] for one in found if _normalised(one["package"]) == package and one["extra"] not in _COLLECTIONS]
    if not extras:
        return None
    sentence = f"this needs {package}, which is not installed: pip install 'paradp[{extras[0]}]'"
    return sentence + " (Python 3.11 or 3.12)" * (package in ("robosuite", "mujoco"))


def _requirements() -> list[str]:
    """Of paradp, with the extras that they belong to."""
    try:
        return requires("paradp") or []
    except PackageNotFoundError:  # a source tree that is not installed
        return _declared(Path(__file__).resolve().parents[1] / "pyproject.toml")


def _declared(project: Path) -> list[str]:
    import tomllib

    if not project.is_file():
        return []
    extras = tomllib.loads(project.read_text())["project"]["optional-dependencies"]
    return [f"{needed}; extra == '{extra}'" for extra, packages in extras.items() for needed in packages]


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
