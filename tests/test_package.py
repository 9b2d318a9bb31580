"""The wheel works outside the checkout."""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_an_installed_wheel_runs_square(tmp_path):
    def run(*command: object) -> str:
        done = subprocess.run([str(c) for c in command], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT)
    [wheel] = tmp_path.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    run(python, "-m", "pip", "install", "--no-deps", "--no-index", wheel)
    # The dependencies are taken from this environment; a .pth file in there (the checkout's own) is not followed.
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    (Path(site) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = run(python, "-c", "import paradp.sampler; print(paradp.sampler.__file__)").strip()
    assert where.startswith(site)
    refused = subprocess.run([tmp_path / "venv/bin/paradp", "study"], cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode == 2 and "studies come with the repository of paradp" in refused.stderr
    printed = run(tmp_path / "venv/bin/paradp", "rollout", "square", "--episodes", "1", "--out", tmp_path / "run")
    assert "success (95 %)" in printed and (tmp_path / "run/summary.json").is_file()
