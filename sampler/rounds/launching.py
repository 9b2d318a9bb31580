"""The requirements for launching Triton kernels."""

import os
import shutil
import sysconfig
from importlib.util import find_spec
from pathlib import Path

# The first version of Triton that compiles our kernels.
OLDEST = (3, 3)


def lacking() -> str | None:
    """The missing requirement of this machine, in a few words. It does not check for a GPU."""
    if not find_spec("triton"):
        return "the package triton"
    import triton

    scheme = sysconfig.get_default_scheme().replace("posix_local", "posix_prefix")  # where Triton looks for the headers
    if tuple(int(part) for part in triton.__version__.split(".")[:2]) < OLDEST:
        return "Triton " + ".".join(map(str, OLDEST)) + " or later"
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "a C compiler"
    if not (Path(sysconfig.get_paths(scheme=scheme)["include"]) / "Python.h").is_file():
        return "Python's C headers"
    return None
