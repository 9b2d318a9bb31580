"""The wheels work outside the checkout."""

import sysconfig
import venv
import zipfile
from functools import partial
from pathlib import Path

import installing
import pytest


@pytest.mark.slow
def test_installed_wheels_run_square(tmp_path):
    run = partial(installing.output, cwd=tmp_path)
    wheel = installing.build_wheel(installing.ROOT, tmp_path)
    weights = installing.build_wheel(installing.WEIGHTS, tmp_path)
    shipped = zipfile.ZipFile(wheel).namelist()
    assert not [name for name in shipped if Path(name).suffix not in (".py", ".typed") and ".dist-info/" not in name]
    assert not [name for name in shipped if "lerobot_policy" in name]  # a distribution of its own
    for room in ("sampler", "policy", "bridges", "checkpoints", "envs", "rollouts", "scripts"):
        assert f"paradp/{room}/py.typed" in shipped  # type checkers read our annotations
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    run(python, "-m", "pip", "install", "--no-deps", "--no-index", wheel, weights)
    # The dependencies are taken from this environment; a .pth file in there (the checkout's own) is not followed.
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    (Path(site) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = run(python, "-c", "import paradp.sampler; print(paradp.sampler.__file__)").strip()
    assert where.startswith(site)
    refused = installing.run(tmp_path / "venv/bin/paradp", "study", cwd=tmp_path)
    assert refused.returncode == 2 and "studies are part of paradp's repository" in refused.stderr
    printed = run(tmp_path / "venv/bin/paradp", "rollout", "square", "--episodes", "1", "--out", tmp_path / "run")
    assert "success (95 %)" in printed and (tmp_path / "run/summary.json").is_file()
