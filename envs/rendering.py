"""Finds out whether and with which OpenGL MuJoCo can render here. It reads MUJOCO_GL once, at its first import.

With an unknown value, or a missing library, `import mujoco` fails, and with it every simulation, filmed or not. Before that
import such a value is therefore replaced by `disabled`: the simulation runs, but without frames.
"""

import ctypes.util
import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Collection
from functools import cache
from typing import Any

import numpy as np

VARIABLE = "MUJOCO_GL"
DISABLED = ("disable", "disabled", "off", "false", "0")
WINDOW = ("glfw", "glx", "enable", "enabled", "on", "true", "1")
# Name → library and the package of Debian and Ubuntu that has it.
LIBRARIES = {"egl": ("EGL", "libegl1"), "osmesa": ("OSMesa", "libosmesa6")}
PROBE = """
import os, sys
try:
    import mujoco
    mujoco.Renderer(mujoco.MjModel.from_xml_string("<mujoco/>"), 16, 16).render()
except BaseException as error:
    print(f"{type(error).__name__}: {error}".splitlines()[0], file=sys.stderr, flush=True)
    os._exit(1)
os._exit(0)
"""
SECONDS = 60
# Groups of geometries, as robosuite has them: 0 are collision meshes, 1 visual ones.
VISUAL = (1, 2)


def render_problem() -> str | None:
    """Why no frame can be rendered here; `None` if frames can be rendered.

    The first call renders one in another process, so that a crashing driver does no harm.
    """
    name = _asked()
    return _missing(name) or _probed(name or ("egl" if sys.platform == "linux" else ""))


def choose_gl() -> None:
    """Sets MUJOCO_GL to a value that works here. Call it before the first import of MuJoCo."""
    name = _asked()
    if _missing(name):
        os.environ[VARIABLE] = "disabled"
    elif not name and sys.platform == "linux":
        os.environ[VARIABLE] = "egl"  # MuJoCo would want a display


@cache
def _asked() -> str:
    """The user's value of the variable, which `choose_gl` may overwrite."""
    return os.environ.get(VARIABLE, "").strip().lower()


def _missing(name: str) -> str | None:
    """The missing requirement of a renderer, checked without loading it."""
    if name in DISABLED:
        return f"{VARIABLE}={name} turns rendering off"
    if sys.platform != "linux":
        return None
    if name in WINDOW:
        return None if importlib.util.find_spec("glfw") else f"{VARIABLE}={name} needs the Python package glfw"
    if name not in ("", *LIBRARIES):
        return f"{VARIABLE}={name} is not a renderer for Linux (egl, osmesa, glfw); unset it to use EGL"
    library, package = LIBRARIES[name or "egl"]
    if ctypes.util.find_library(library):
        return None
    asked = f"{VARIABLE}={name}" if name else "rendering"
    other = "" if name in ("", "egl") else f", or unset {VARIABLE} to use EGL"
    return f"{asked} needs {library}, which this machine lacks (Debian and Ubuntu: apt install {package}{other})"


@cache
def _probed(name: str) -> str | None:
    environment = os.environ | ({VARIABLE: name} if name else {})
    command = [sys.executable, "-P", "-c", PROBE]  # -P: nothing of the working folder
    try:
        ran = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return _draws_nothing(name, str(error))
    if ran.returncode == 0:
        return None
    lines = ran.stderr.decode(errors="replace").strip().splitlines()
    return _draws_nothing(name, lines[-1] if lines else f"the renderer died, exit code {ran.returncode}")


def _draws_nothing(name: str, why: str) -> str:
    other = "" if name in ("", "egl") else f"; unset {VARIABLE} to use EGL"
    return f"{VARIABLE}={name} draws no frame here ({why}){other}"


class Frames:
    """Renders frames of one size of a MuJoCo model, in any thread.

    An OpenGL context can be current in one thread at a time, so every thread that renders gets its own renderer.

    Args:
        model: MuJoCo's model.
        height, width: size of a frame in pixels.
        groups: groups of geometries to draw; by default without robosuite's collision meshes.
    """

    def __init__(self, model: Any, height: int, width: int, groups: Collection[int] = VISUAL):
        self._model = model
        self._size = height, width
        self._groups = groups
        self._renderers: dict[int, tuple[Any, Any]] = {}

    def draw(self, data: Any, camera: Any) -> np.ndarray:
        """Renders the RGB frame `[height, width, 3]` uint8 of a camera: one of the model by name, or a free one of MuJoCo.

        Raises:
            OSError: frames cannot be drawn here; the message says why.
        """
        thread = threading.get_ident()
        if thread not in self._renderers:
            self._renderers[thread] = make_renderer(self._model, *self._size, self._groups)
        renderer, options = self._renderers[thread]
        renderer.update_scene(data, camera=camera, scene_option=options)
        return renderer.render()

    def close(self) -> None:
        """Frees the renderers; no thread may be rendering."""
        while self._renderers:
            self._renderers.popitem()[1][0].close()


def make_renderer(model: Any, height: int, width: int, groups: Collection[int] = VISUAL) -> tuple[Any, Any]:
    """Makes MuJoCo's renderer for frames of this size, and its visualisation options.

    Raises:
        OSError: frames cannot be drawn here; the message says why.
    """
    if problem := render_problem():
        raise OSError(f"no frame can be drawn: {problem}")
    import mujoco

    model.vis.global_.offheight = max(model.vis.global_.offheight, height)
    model.vis.global_.offwidth = max(model.vis.global_.offwidth, width)
    try:
        renderer = mujoco.Renderer(model, height, width)
    except Exception as error:  # each of MuJoCo's backends raises its own, AttributeError included
        raise OSError(f"no frame can be drawn: MuJoCo's renderer failed ({type(error).__name__}: {error})") from error
    # On a CPU rasteriser shadows and reflections cost three quarters of a frame.
    renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
    renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
    options = mujoco.MjvOption()
    options.geomgroup[:] = [group in groups for group in range(len(options.geomgroup))]
    return renderer, options
