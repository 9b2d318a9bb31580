"""Lazy exports of a package, imported at their first use, so that listing samplers or tasks does not wait for PyTorch."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any

from paradp.sampler.lookup import note_renamed


def lazy_exports(
    package: str, homes: Mapping[str, str], renamed: Mapping[str, str] = MappingProxyType({})
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package (PEP 562).

    The package repeats the imports under `if TYPE_CHECKING:`, for type checkers and readers. A test checks that the two
    lists are equal.

    Args:
        package: its `__name__`.
        homes: module of the package → the names that it exports, separated by blanks.
        renamed: older name of an export → present name; the older one is accepted with a note.
    """
    modules = {name: module for module, names in homes.items() for name in names.split()}

    def get(name: str) -> Any:
        if (now := renamed.get(name)) is not None:
            note_renamed(f"{package}.{name}", now)
            return getattr(sys.modules[package], now)
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{modules[name]}"), name)
        setattr(sys.modules[package], name, value)  # so that the next use does not call `get`
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return get, names, sorted(modules)
