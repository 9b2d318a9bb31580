"""docs/control-loop.md, as a user would run it; and `paradp serve` as a process."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

PARADP = Path(sys.executable).with_name("paradp")
ROOT = Path(__file__).parents[2]


def scripts() -> list[str]:
    page = (ROOT / "docs/control-loop.md").read_text()
    return [block.split("```")[0] for block in page.split("```python")[1:]]


def run(script: str, folder: Path, *arguments: str) -> str:
    path = folder / "loop.py"
    path.write_text(script)
    done = subprocess.run([sys.executable, path, *arguments], capture_output=True, text=True, timeout=300, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def served(*arguments: str, key: str | None = None):
    """`paradp serve lift` on a free port: its address, and the process."""
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


def test_the_first_loop_is_thirty_lines():
    lines = [line for line in scripts()[0].splitlines() if line.strip() and not line.startswith(("from ", "import "))]
    assert len(lines) <= 30


@pytest.mark.slow
def test_the_loop_in_process(tmp_path):
    said = run(scripts()[0], tmp_path)
    assert said.startswith("success: ") and "stopped=None" in said


@pytest.mark.slow
def test_the_loop_through_a_server(tmp_path):
    with served(key="secret") as (uri, _):
        said = run(scripts()[1], tmp_path, uri)
    assert said.startswith("success: ") and "stopped=None" in said


def test_a_server_is_a_process_like_others():
    with served(key="secret") as (uri, server):
        url = uri.replace("ws", "http")
        assert urllib.request.urlopen(f"{url}/healthz").read() == b"OK\n"
        port = uri.rsplit(":", 1)[1]
        second = subprocess.run(
            [PARADP, "serve", "lift", "--port", port, "--sampler", "ddim-5"], capture_output=True, text=True, timeout=120
        )
        assert second.returncode == 2 and "in use" in second.stderr and "Traceback" not in second.stderr
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0 and "closed" in server.stdout.read()
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", int(port)), timeout=5)
