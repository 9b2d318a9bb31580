"""A policy server, started like a user would."""

import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

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
