"""The first example of the guide to control loops is short; `paradp serve` is a normal process."""

import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

PARADP = Path(sys.executable).with_name("paradp")
PAGE = Path(__file__).parents[2] / "docs/control-loop.md"


def test_the_first_loop_has_at_most_thirty_lines():
    """test_documentation.py tests that it runs."""
    script = PAGE.read_text().split("```python")[1].split("```")[0]
    lines = [line for line in script.splitlines() if line.strip() and not line.startswith(("from ", "import "))]
    assert len(lines) <= 30


def test_a_server_handles_signals_like_other_processes(served):
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
