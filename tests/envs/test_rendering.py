"""Without a renderer, simulations run without frames, and one sentence gives the reason."""

import os
import subprocess
import sys

import pytest

from paradp.envs import rendering

SIMULATE = """
import gymnasium, paradp.envs
env = gymnasium.make("paradp/Lift-v0", action_convention="delta", render_mode="rgb_array")
env.reset(seed=0)
env.step(env.action_space.low)
try:
    env.render()
except OSError as error:
    print(error)
"""


def said(code: str, gl: str) -> str:
    """The output of a new Python process with this renderer; MuJoCo reads the variable once per process."""
    environment = os.environ | {"MUJOCO_GL": gl, "DISPLAY": "", "WAYLAND_DISPLAY": ""}
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture
def fresh(monkeypatch):
    """Clears the cached result of the probe, before and after."""

    def ask(gl: str) -> str | None:
        monkeypatch.setenv("MUJOCO_GL", gl)
        rendering._asked.cache_clear()
        rendering._probed.cache_clear()
        return rendering.render_problem()

    yield ask
    rendering._asked.cache_clear()
    rendering._probed.cache_clear()


@pytest.mark.skipif(sys.platform != "linux", reason="names of Linux's renderers")
def test_every_renderer_that_cannot_be_made_is_named_in_a_sentence(fresh, monkeypatch):
    monkeypatch.setattr(rendering.ctypes.util, "find_library", lambda name: None)
    assert fresh("osmesa") == (
        "MUJOCO_GL=osmesa needs OSMesa, which this machine lacks"
        " (Debian and Ubuntu: apt install libosmesa6, or unset MUJOCO_GL to use EGL)"
    )
    lacks_egl = "needs EGL, which this machine lacks (Debian and Ubuntu: apt install libegl1)"
    assert fresh("egl") == f"MUJOCO_GL=egl {lacks_egl}" and fresh("") == f"rendering {lacks_egl}"
    assert fresh("disabled") == "MUJOCO_GL=disabled turns rendering off"
    for name in ("wgl", "cgl", "vulkan"):
        assert fresh(name) == f"MUJOCO_GL={name} is not a renderer for Linux (egl, osmesa, glfw); unset it to use EGL"


def test_a_library_that_cannot_render_is_detected(fresh, monkeypatch):
    """As on a machine with EGL but without a driver: the library loads, and the first frame fails."""
    monkeypatch.setattr(rendering, "_missing", lambda name: None)
    monkeypatch.setattr(rendering, "PROBE", "import sys; sys.exit('FatalError: no context')")
    assert fresh("osmesa") == "MUJOCO_GL=osmesa draws no frame here (FatalError: no context); unset MUJOCO_GL to use EGL"
    monkeypatch.setattr(rendering, "PROBE", "import os; os.abort()")
    assert "the renderer died, exit code -6" in fresh("egl")


@pytest.mark.skipif(sys.platform != "linux", reason="names of Linux's renderers")
def test_without_a_renderer_the_simulation_runs():
    assert said(SIMULATE, "wgl").startswith("no frame can be drawn: MUJOCO_GL=wgl is not a renderer for Linux")


def test_the_probe_imports_nothing_from_the_working_folder(fresh, monkeypatch, tmp_path):
    (tmp_path / "mujoco.py").write_text("raise SystemExit('this is of the working folder')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rendering, "_missing", lambda name: None)
    assert "working folder" not in (fresh("egl") or "")
