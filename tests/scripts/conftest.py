"""Commands as a user runs them, in this process, and a policy server in a separate process."""

import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from paradp.scripts.main import main

PARADP = Path(sys.executable).with_name("paradp")


@pytest.fixture
def served():
    """`with served(key=…) as (uri, process)`: `paradp serve lift` on a free port."""

    @contextmanager
    def serve(*arguments: str, key: str | None = None):
        environment = os.environ | ({"PARADP_API_KEY": key} if key else {})
        command = [PARADP, "serve", "lift", "--port", "0", "--sampler", "ddim-5", *arguments]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
        try:
            line = next(line for line in server.stdout if "serving at" in line)
            yield re.search(r"ws://[\d.:]+", line)[0], server
        finally:
            server.kill()
            server.wait()
            server.stdout.close()

    return serve


@pytest.fixture
def paradp(monkeypatch, capsys):
    """Runs a command; returns its exit code, standard output and standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["paradp", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def printed_by(paradp):
    """Runs a command that succeeds or is refused; returns its output or error on one line."""

    def run(*arguments: object, refused: bool = False) -> str:
        code, out, err = paradp(*arguments)
        assert code == (2 if refused else 0), err
        return " ".join((err if refused else out).split())

    return run
