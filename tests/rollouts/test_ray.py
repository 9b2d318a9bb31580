"""The Ray backend on a cluster of two nodes, which are processes of this machine."""

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

pytest.importorskip("ray", reason="Ray is not installed (pip install 'paradp[ray]')")

PARADP = [sys.executable, "-c", "from paradp.scripts.main import main; main()"]
RAY = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}


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
    """The address of a cluster with two nodes of one core each; only what was started here is stopped."""
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
    """Ray's processes that are running episodes of ours."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"ray::_run_job" in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_two_nodes_find_what_this_machine_finds_also_when_a_worker_is_killed(cluster, tmp_path):
    subprocess.run(evaluate(tmp_path / "local", "--workers", "2"), check=True, capture_output=True)
    out = tmp_path / "ray"
    process = subprocess.Popen(
        evaluate(out, "--backend", "ray", "--address", cluster), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 240
    while not (list(out.glob("cells/*/episodes/*.json")) and (workers := _ray_workers())):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    os.kill(workers[0], signal.SIGKILL)
    printed, complaints = process.communicate(timeout=300)
    assert process.returncode == 0, printed + complaints
    assert actions(out) == actions(tmp_path / "local")


def test_a_cluster_that_is_not_there_is_named(tmp_path):
    command = evaluate(tmp_path / "out", "--backend", "ray", "--address", "127.0.0.1:1")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "no Ray cluster can be reached at 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()
