"""`python -m torture.opening`: opens files that are named on its standard input, each in a fork with little memory, and says
how it went. What has to be imported is imported once, before the first fork."""

import json
import os
import resource
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from torture.specimens import KINDS, SECRET
from torture.world import World

MOST_MB = 100
MOST_SECONDS = 20
# Beyond what the process has when it starts: whoever wants more gets a MemoryError.
MORE_BYTES = 2**30


def main() -> None:
    world = World.at(Path(sys.argv[1]), "files")
    _import_all()
    print("ready", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        print(json.dumps(_in_a_fork(world, job["kind"], Path(job["path"]))), flush=True)


def _import_all() -> None:
    import pyarrow.parquet  # noqa: F401
    import torch

    import paradp.policy.data.demonstrations
    import paradp.policy.engines.autotune.profile
    import paradp.policy.learning.training
    import paradp.rollouts.evaluation.grid
    import paradp.rollouts.imports.defects
    import paradp.rollouts.imports.recordings  # noqa: F401
    from paradp import checkpoints, policy, rollouts, sampler

    for package in (sampler, policy, checkpoints, rollouts):
        for name in package.__all__:
            getattr(package, name)  # packages import what they export when it is first asked for

    torch.set_num_threads(1)


def _in_a_fork(world: World, kind: str, path: Path) -> dict[str, Any]:
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        os.close(reader)
        try:
            answer = _open(world, kind, path)
        except BaseException as error:
            answer = {"outcome": "raised", "type": type(error).__name__, "why": str(error)[:2000]}
        answer["megabytes"] = round(_peak_mb(), 1)
        os.write(writer, json.dumps(answer).encode()[:60_000])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        told = file.read()
    _, status = os.waitpid(pid, 0)
    if told:
        return json.loads(told)
    name = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}"
    return {"outcome": "died", "why": name, "megabytes": 0}


_BEFORE_MB = 0.0


def _open(world: World, kind: str, path: Path) -> dict[str, Any]:
    global _BEFORE_MB
    warnings.simplefilter("ignore")
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        os.dup2(nowhere.fileno(), 1)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from now on
    _BEFORE_MB = _status_mb("VmRSS")
    limit = int(_status_mb("VmSize") * 2**20) + MORE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.alarm(MOST_SECONDS)
    try:
        arrays = KINDS[kind].open(world, path)
    except (ValueError, OSError) as error:
        return {"outcome": "refused", "type": type(error).__name__, "why": str(error)[:2000]}
    leaked = any(array.dtype.kind == "f" and (array == SECRET).any() for array in arrays if isinstance(array, np.ndarray))
    return {"outcome": "leaked" if leaked else "read", "why": ""}


def _peak_mb() -> float:
    return max(0.0, _status_mb("VmHWM") - _BEFORE_MB)


def _status_mb(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name + ":"))


if __name__ == "__main__":
    main()
