"""The Ray backend on a cluster of two nodes, both on this machine."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

pytest.importorskip("ray", reason='Ray is not installed (pip install ".[ray]")')

PARADP = [sys.executable, "-c", "from paradp.scripts.main import main; main()"]
RAY = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
# A token in the user's home would be asked of every node and driver.
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0", "RAY_AUTH_MODE": "disabled"}


def evaluate(out: Path, *more: str) -> list[str]:
    return [
        *PARADP,
        "evaluate",
        "lift",
        "--samplers",
        "ddim-10,ddpm",
        "--episodes",
        "8",
        "--envs",
        "2",
        "--out",
        str(out),
        *more,
    ]


def actions(out: Path) -> dict[tuple, list]:
    table = pd.read_parquet(out / "steps.parquet")
    return {(c, s, i): list(a) for c, s, i, a in zip(table.cell, table.seed, table.step, table.action, strict=True)}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[str]:
    """The address of a cluster with two nodes of one core each; stops only processes that it started."""
    folder = tmp_path_factory.mktemp("r")  # Ray's sockets want a short path
    environment = os.environ | QUIET
    nodes: list[subprocess.Popen] = []

    def start(*arguments: str) -> subprocess.Popen:
        command = [*RAY, "start", "--num-cpus=1", "--disable-usage-stats", "--block", *arguments]
        log = (folder / f"node-{len(nodes)}.log").open("w")
        nodes.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True))
        return nodes[-1]

    try:
        start("--head", "--port=0", "--include-dashboard=false")
        address = _wait_for(folder / "node-0.log", r"--address='([^']+)'")
        start(f"--address={address}")
        _wait_for(folder / "node-1.log", r"Ray runtime started")
        yield address
    finally:
        for node in reversed(nodes):
            os.killpg(node.pid, signal.SIGTERM)
        for node in nodes:
            try:
                node.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(node.pid, signal.SIGKILL)


def _wait_for(log: Path, pattern: str, seconds: float = 90) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := re.search(pattern, log.read_text()):
            return found[1] if found.groups() else found[0]
        time.sleep(0.2)
    raise AssertionError(log.read_text())


def _ray_workers() -> list[int]:
    """Ray's processes that run paradp's episodes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"ray::_run_job" in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_two_nodes_give_the_same_results_as_this_machine_even_if_a_worker_is_killed(cluster, tmp_path):
    subprocess.run(evaluate(tmp_path / "local", "--workers", "2"), check=True, capture_output=True)
    out = tmp_path / "ray"
    command = evaluate(out, "--backend", "ray", "--address", cluster)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, text=True, env=os.environ | QUIET, **pipes)
    deadline = time.monotonic() + 240
    while not (list(out.glob("cells/*/episodes/*.json")) and (workers := _ray_workers())):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    os.kill(workers[0], signal.SIGKILL)
    printed, complaints = process.communicate(timeout=300)
    assert process.returncode == 0, printed + complaints
    assert actions(out) == actions(tmp_path / "local")


def test_a_missing_cluster_is_named(tmp_path):
    command = evaluate(tmp_path / "out", "--backend", "ray", "--address", "127.0.0.1:1")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "no Ray cluster can be reached at 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()


def test_a_job_that_no_node_can_run_is_refused_at_once(tmp_path):
    """Otherwise Ray would wait for a larger node for ever."""
    command = evaluate(tmp_path / "out", "--backend", "ray", "--threads", "4096")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ | QUIET)
    assert done.returncode == 2 and "each of Ray's workers needs 4096 CPUs (--threads)" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()


LISTENING = """
import os, re
from pathlib import Path
from paradp.rollouts.episodes.backends import RayCluster

cluster = RayCluster()
cluster._ray.get(cluster._ray.remote(lambda: 1).remote())  # a worker has started

children = {}
for stat in Path("/proc").glob("[0-9]*/stat"):
    try:
        children.setdefault(int(stat.read_text().rsplit(")", 1)[1].split()[1]), []).append(int(stat.parent.name))
    except OSError:
        continue
processes, sockets = [os.getpid()], set()
for process in processes:
    processes += children.get(process, [])
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        try:
            sockets |= set(re.findall(r"socket:.(\\d+)", os.readlink(descriptor)))
        except OSError:
            continue
for table in ("tcp", "tcp6"):
    for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and fields[9] in sockets:
            print("listens", fields[1])
cluster._ray.shutdown()
"""


@pytest.mark.slow
def test_rays_own_cluster_listens_only_to_this_machine():
    """Checked in the kernel's table of sockets. By default Ray listens on all addresses."""
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | QUIET
    done = subprocess.run([sys.executable, "-c", LISTENING], capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr
    listening = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("listens")]
    loopback = ("0100007F:", "0000000000000000FFFF00000100007F:", "00000000000000000000000001000000:")
    assert len(listening) >= 4 and all(address.startswith(loopback) for address in listening), listening
