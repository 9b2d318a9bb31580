"""Functions of MuJoCo's C library that compiled code calls. Pointers are passed as integers: addresses."""

from pathlib import Path

import llvmlite.binding
import mujoco
from numba import types


def _library() -> str:
    folder = Path(mujoco.__file__).parent
    files = [
        file for pattern in ("libmujoco*.so*", "libmujoco*.dylib", "mujoco.dll") for file in sorted(folder.glob(pattern))
    ]
    if not files:
        raise ImportError(f"MuJoCo's library is not beside its Python package in {folder}")
    return str(files[0])


# The same file that the Python package has loaded, so both work on the same models.
llvmlite.binding.load_library_permanently(_library())

mj_step1 = types.ExternalFunction("mj_step1", types.void(types.intp, types.intp))
mj_step2 = types.ExternalFunction("mj_step2", types.void(types.intp, types.intp))
mj_fullM = types.ExternalFunction("mj_fullM", types.void(types.intp, types.intp, types.intp))
mj_jacSite = types.ExternalFunction("mj_jacSite", types.void(types.intp, types.intp, types.intp, types.intp, types.int32))
