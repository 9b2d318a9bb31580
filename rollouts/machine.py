"""The machine that things run on: its cores, its name, the versions of what computes. Needs no PyTorch to be said."""

import ctypes
import math
import os
import platform
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from paradp.policy.devices import gpus, split_devices

VERSIONED = ("paradp", "torch", "openvino", "numba", "numpy", "robosuite", "mujoco", "gym-pusht", "pymunk", "gymnasium",
             "diffusers")  # fmt: skip
_CGROUPS = Path("/sys/fs/cgroup")


def cores(cgroups: Path = _CGROUPS) -> int:
    """How many cores this process may use: those of its affinity, and of a container's share of the machine's time."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroups)
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def hardware(device: str = "cpu") -> dict[str, Any]:
    """The machine in words."""
    machine = {"cpu": _cpu_name(), "cores": os.cpu_count(), "system": platform.system(), "python": platform.python_version()}
    return machine | ({"gpu": _gpu_names(device)} if gpus(device) else {})


def versions() -> dict[str, str]:
    """Of the packages that a run's numbers depend on, and who makes robosuite's control steps (`paradp.envs.simulators`)."""
    installed = {name: _version(name) for name in VERSIONED if find_spec(name.replace("-", "_"))}
    packages = {name: number for name, number in installed.items() if number}
    if "gymnasium" not in packages:  # a computer that only plans
        return packages
    from paradp.envs.simulators import asked_for

    return {**packages, "simulator": asked_for()}


def _version(name: str) -> str | None:
    """`None` for a package that is not installed but lies on the path, as a source tree does."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def cuda_devices() -> int:
    """How many CUDA devices the driver shows this process, found without PyTorch; 0 without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    started = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
    return count.value if started else 0


def _quota(cgroups: Path) -> float | None:
    """How many cores' time a container is given; `None` without a limit."""
    try:  # version 2: "max 100000" or "150000 100000"
        quota, period = (cgroups / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = ((cgroups / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        except OSError:
            return None
    try:
        return int(quota) / int(period) if int(quota) > 0 else None
    except (ValueError, ZeroDivisionError):
        return None


def _gpu_names(device: str) -> str:
    """Of the cards that are computed on, each kind once with how many there are of it."""
    import torch

    names = Counter(torch.cuda.get_device_name(one) for one in split_devices(device))
    return ", ".join(name if count == 1 else f"{count} × {name}" for name, count in names.items())


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
