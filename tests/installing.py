"""Wheels of the checkout, and commands run outside it: fixtures and helpers of the installation tests."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WEIGHTS = ROOT / "checkpoints/pretrained"
# Everything that is exported, and a plan of a policy by each sampler that is named after it; then numpy's version.
PROGRAM = """
import sys
import numpy as np, torch
import paradp.checkpoints, paradp.policy, paradp.sampler
for room in (paradp.sampler, paradp.policy, paradp.checkpoints):
    for name in room.__all__:
        getattr(room, name)
for sampler in sys.argv[2:]:
    policy = paradp.checkpoints.load_policy(sys.argv[1], sampler, engine="eager")
    before = (1, policy.spec.horizons.observe)
    seen = {key: np.zeros((*before, *one.shape), one.dtype) for key, one in policy.spec.observed.items()}
    print(policy.plan(seen, [torch.Generator().manual_seed(0)]).actions.tolist())
print(np.__version__)
"""
EVERY_SOLVER = ("ddim-5", "speculative-ddpm:window=8", "para-ddpm:tolerance=0")


def run(*command: object, env: Mapping[str, str] | None = None, **options) -> subprocess.CompletedProcess:
    """Runs a command that does not see this checkout's packages, with these variables besides."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    environment |= env or {}
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, env=environment, **options)


def output(*command: object, **options) -> str:
    """The output of a command, which must succeed."""
    done = run(*command, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def build_wheel(source: Path, folder: Path) -> Path:
    """A wheel of a project's folder, which stays as it is: what earlier builds left there would come along.

    Args:
        source: the folder with its pyproject.toml.
        folder: where the wheel goes, in a folder of its own.
    """
    place = Path(tempfile.mkdtemp(dir=folder))
    (place / "build.cfg").write_text(f"[build]\nbuild_base = {place / 'build'}\n[egg_info]\negg_base = {place}\n")
    command = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", place, source)
    output(*command, env={"DIST_EXTRA_CONFIG": str(place / "build.cfg")})
    [wheel] = place.glob("*.whl")
    return wheel


def new_environment(version: str, folder: Path) -> Path:
    """The programs of a new virtual environment of that Python; the test is skipped where there is no such Python."""
    python = shutil.which(f"python{version}")
    if python is None or run(python, "--version").returncode:
        pytest.skip(f"there is no Python {version} here")
    output(python, "-m", "venv", folder / "venv")
    return folder / "venv/bin"


def install(bin: Path, *what: object) -> None:
    """Installs packages into an environment, as its pip chooses them."""
    output(bin / "pip", "install", "--quiet", "--disable-pip-version-check", *what)


def torch_version() -> str:
    """The requirement passed to pip: the version of the constraints, for which an index may have a CPU build."""
    [pin] = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch==")]
    return pin
