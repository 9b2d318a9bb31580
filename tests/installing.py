"""A wheel of the checkout, and what commands say that run outside it. Fixtures and helpers of the tests that install."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run(*command: object, **options) -> subprocess.CompletedProcess:
    """Runs a command that does not see this checkout's packages."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, env=environment, **options)


def output(*command: object, **options) -> str:
    """What a command prints, which must succeed."""
    done = run(*command, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def build_wheel(folder: Path) -> Path:
    output(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT)
    [wheel] = folder.glob("*.whl")
    return wheel
