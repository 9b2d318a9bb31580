"""Which extra of paradp brings a package that is not installed."""

import re
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec

# Where the module has another name than its package.
_PACKAGES = {"PIL": "pillow"}
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
    module = (error.name or "").partition(".")[0]
    package = _normalised(_PACKAGES.get(module, module))
    found = filter(None, map(_NEEDED.match, _requirements()))
    extras = [one["extra"] for one in found if _normalised(one["package"]) == package and one["extra"] not in _COLLECTIONS]
    if not extras:
        return None
    sentence = f"this needs {package}, which is not installed: pip install 'paradp[{extras[0]}]'"
    return sentence + " (Python 3.11 or 3.12)" * (package in ("robosuite", "mujoco"))


def _requirements() -> list[str]:
    """Of paradp; none are known of a source tree that is not installed."""
    try:
        return requires("paradp") or []
    except PackageNotFoundError:
        return []


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
