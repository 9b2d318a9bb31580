"""Finds the extra of paradp that installs a missing package."""

import re
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec
from pathlib import Path

from paradp.policy.wording import in_a_clone

# Modules whose package has another name.
_PACKAGES = {"PIL": "pillow", "rerun": "rerun-sdk"}
# Extras that are named last, because they install much more than the missing package.
_COLLECTIONS = ("all", "dev")
_NEEDED = re.compile(r"(?P<package>[\w.-]+).*\bextra == ['\"](?P<extra>\w+)['\"]")


def check_installed(*modules: str) -> None:
    """Checks that modules are installed, without importing them.

    Raises:
        ModuleNotFoundError: one is not installed; `missing_extra` makes the message.
    """
    for module in modules:
        if find_spec(module) is None:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)


def missing_extra(error: ModuleNotFoundError) -> str | None:
    """The message for a failed import; `None` if no extra installs the package, which is a bug then."""
    return what_to_install((error.name or "").partition(".")[0])


def what_to_install(module: str) -> str | None:
    """A sentence on how to install a missing module; `None` if no extra installs it."""
    package = _normalised(_PACKAGES.get(module, module))
    found = filter(None, map(_NEEDED.match, _requirements()))
    extras = [one["extra"] for one in found if _normalised(one["package"]) == package and one["extra"] not in _COLLECTIONS]
    if not extras:
        return None
    sentence = f"this needs {package}, which is not installed: {in_a_clone(extras[0])}"
    return sentence + " (Python 3.11 or 3.12)" * (package in ("robosuite", "mujoco", "gymnasium-robotics"))


def _requirements() -> list[str]:
    """The requirements of paradp, with their extras."""
    try:
        return requires("paradp") or []
    except PackageNotFoundError:  # in a source tree that is not installed
        return _declared(Path(__file__).resolve().parents[1] / "pyproject.toml")


def _declared(project: Path) -> list[str]:
    import tomllib

    if not project.is_file():
        return []
    extras = tomllib.loads(project.read_text())["project"]["optional-dependencies"]
    return [f"{needed}; extra == '{extra}'" for extra, packages in extras.items() for needed in packages]


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
