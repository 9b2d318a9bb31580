"""No child process outlives its parent, at whatever moment the parent is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

# Starts three processes that import nothing of ours, so that nothing of ours could watch their parent later on.
PARENT = """
import os, sys, time
from paradp.policy.processes import spawning

def parent():
    os.setsid()
    children = [spawning().Process(target=time.sleep, args=(600,)) for _ in range(3)]
    for child in children:
        child.start()
        os.write(1, b".")
    time.sleep(600)

for line in sys.stdin:
    if (pid := os.fork()) == 0:
        parent()
    print(pid, flush=True)
    os.waitpid(pid, 0)
    print("ended", flush=True)
"""


def session(leader: int) -> list[int]:
    """The processes of a session, without zombies."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of = stat.read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if int(of) == leader and state != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's word on a parent's death is Linux's")
def test_children_die_with_a_parent_that_is_killed_at_any_moment():
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as main:
        try:
            for seconds in (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 2.0):
                main.stdin.write("\n")
                main.stdin.flush()
                parent = int(main.stdout.readline().strip("."))
                while not session(parent):
                    time.sleep(0.001)
                time.sleep(seconds)
                os.kill(parent, signal.SIGKILL)
                assert main.stdout.readline().strip(".") == "ended\n"
                deadline = time.monotonic() + 10
                while left := session(parent):
                    assert time.monotonic() < deadline, (seconds, left)
                    time.sleep(0.01)
        finally:
            main.kill()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's word on a parent's death is Linux's")
def test_a_collection_that_is_killed_leaves_no_process(tmp_path):
    """Killed before it has workers, while they import and while they work; the next collection continues at once."""
    command = [sys.executable, "-c", "from paradp.scripts.main import main; main()", "collect", "pusht", "--workers", "2"]
    command += ["--episodes", "20000", "--out", str(tmp_path / "demos.zarr")]  # more than any machine makes meanwhile
    for children, seconds in ((0, 0.5), (2, 0.0), (2, 0.5), (2, 3.0), (2, 10.0)):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
        # With two workers the session has a process that tracks semaphores, too.
        while len(session(process.pid)) < 1 + children:
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(seconds)
        assert process.poll() is None, process.stderr.read()
        process.kill()
        process.wait()
        deadline = time.monotonic() + 10
        while left := session(process.pid):
            assert time.monotonic() < deadline, (children, seconds, left)
            time.sleep(0.05)
