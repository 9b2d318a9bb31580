"""`python -m behaviour.launch ROOT CORE MODULE:FUNCTION …`: calls a function with the other arguments.

What it imports of paradp must lie below ROOT. The environment may have another paradp installed, which Python would take
for a module that the commit has not.
"""

import os
import sys
from importlib import import_module
from pathlib import Path


def main() -> None:
    root, core, entry, *words = sys.argv[1:]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core)})
    module, _, function = entry.partition(":")
    sys.argv = ["paradp", *words]
    try:
        getattr(import_module(module), function)()
    finally:
        check_origins(Path(root))


def check_origins(root: Path) -> None:
    """Raises:
    ImportError: a module of paradp was taken from elsewhere.
    """
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.startswith("paradp.") and file and not Path(file).resolve().is_relative_to(root.resolve()):
            raise ImportError(f"{name} was imported from {file}, not from {root}")


if __name__ == "__main__":
    main()
