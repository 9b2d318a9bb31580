"""A commit on disk, and its programs."""

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parent.parent
ROOT = TESTS.parent
# A command that has not ended by then hangs.
HANGS_SECONDS = 900.0


def cores() -> list[int]:
    """The cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]


class Failed(Exception):
    """A command ended with an error; the message has its last output."""


@dataclass(frozen=True)
class Checkout:
    """A commit's files, with the environment in which Python imports them.

    Attributes:
        path: its root.
        paths: a folder with a link `paradp/<room>` to each room, as `make types` has one.
        entry: the function behind the command `paradp`, as `module:function`.
    """

    path: Path
    paths: Path
    entry: str

    @classmethod
    def of(cls, commit: str, folder: Path) -> "Checkout":
        """Checks out a commit into a folder; a folder with a checkout is used as it is.

        Raises:
            Failed: there is no such commit.
        """
        path = Path(commit).resolve() if (Path(commit) / "pyproject.toml").is_file() else _extracted(commit, folder / "tree")
        project = tomllib.loads((path / "pyproject.toml").read_text())
        paths = folder / "paths"
        (paths / "paradp").mkdir(parents=True)
        for package, room in project["tool"]["setuptools"]["package-dir"].items():
            if package.count(".") == 1:
                (paths / "paradp" / package.split(".")[1]).symlink_to(path / room)
        return cls(path, paths, project["project"]["scripts"]["paradp"])

    @property
    def pretrained(self) -> dict[str, Path]:
        """Name → directory of the policies that come with the commit."""
        return {path.parent.name: path.parent for path in sorted(self.path.glob("checkpoints/pretrained/**/config.json"))}


def _extracted(commit: str, folder: Path) -> Path:
    done = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True)
    if done.returncode:
        raise Failed(f"{commit}: {done.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


@dataclass(frozen=True)
class Bench:
    """Runs a commit's programs, one at a time and on one core, because the number of threads affects the last bits.

    Attributes:
        checkout: the commit.
        folder: the working directory; commands name files relative to it, for some write their arguments down.
        core: the core.
    """

    checkout: Checkout
    folder: Path
    core: int

    def paradp(self, *words: object) -> str:
        """Runs a command of `paradp`; returns what it printed.

        Raises:
            Failed: it ended with an error.
        """
        return self._run(self.command(self.checkout.entry, *words))

    def python(self, entry: str, *words: object) -> str:
        """Runs a function of ours, `module:function`, that imports the commit's `paradp`; errors as of `paradp`."""
        return self._run(self.command(entry, *words))

    def start(self, *words: object) -> subprocess.Popen[str]:
        """Starts a command of `paradp`; its output can be read."""
        return subprocess.Popen(
            self.command(self.checkout.entry, *words),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def command(self, entry: str, *words: object) -> list[str]:
        place = [str(self.checkout.path), str(self.core), entry]
        return [sys.executable, "-m", "behaviour.launch", *place, *map(str, words)]

    @property
    def environment(self) -> dict[str, str]:
        ours = {
            "PYTHONPATH": os.pathsep.join(map(str, (self.checkout.paths, TESTS))),
            "PARADP_CACHE": str(self.folder / "cache"),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "160",
        }
        return {name: value for name, value in os.environ.items() if not name.startswith("PARADP_")} | ours

    def copy(self, source: Path, name: str) -> Path:
        """Copies a folder to work on; returns its path in the working directory."""
        shutil.copytree(source, self.folder / name)
        return Path(name)

    def _run(self, command: list[str]) -> str:
        try:
            done = subprocess.run(
                command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=HANGS_SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise Failed(f"it hangs: {' '.join(command[6:])}") from error
        if done.returncode:
            last = " ".join(done.stderr.strip().splitlines()[-3:])
            raise Failed(f"{' '.join(command[6:])} ended in {done.returncode}: {last}")
        return done.stdout
