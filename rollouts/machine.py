"""Describes the machine: its cores, its name and package versions. Does not import PyTorch."""

import ctypes
import math
import os
import platform
from collections import Counter
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from paradp.policy.devices import gpus, split_devices

VERSIONED = ("paradp", "torch", "openvino", "numba", "numpy", "robosuite", "mujoco", "gym-pusht", "pymunk", "gymnasium",
             "diffusers")  # fmt: skip
_CGROUPS = Path("/sys/fs/cgroup")


def cores(cgroups: Path = _CGROUPS) -> int:
    """The number of cores that this process may use, by its affinity and by a container's CPU quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroups)
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def hardware(device: str = "cpu") -> dict[str, Any]:
    """Describes the machine in words."""
    machine = {"cpu": _cpu_name(), "cores": os.cpu_count(), "system": platform.system(), "python": platform.python_version()}
    return machine | ({"gpu": _gpu_names(device)} if gpus(device) else {})


def versions(others: Iterable[str] = ()) -> dict[str, str]:
    """Versions of the packages that a run's numbers depend on, and robosuite's simulator (`paradp.envs.simulators`).

    Args:
        others: further packages, such as those of the run's task.
    """
    installed = {name: _version(name) for name in VERSIONED if find_spec(name.replace("-", "_"))}
    installed |= {name: _version(name) for name in others}
    packages = {name: number for name, number in installed.items() if number}
    if "gymnasium" not in packages:  # for example on a computer that only plans
        return packages
    from paradp.envs.simulators import asked_for

    return {**packages, "simulator": asked_for()}


def _version(name: str) -> str | None:
    """The version of a package; `None` if it is not installed but only on the path, such as a source tree."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def cuda_devices() -> int:
    """The number of CUDA devices visible to this process, found without PyTorch; 0 without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    started = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
    return count.value if started else 0


def _quota(cgroups: Path) -> float | None:
    """The CPU quota of a container in cores; `None` without a limit."""
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
    """The GPUs in use: each model once, with its number."""
    import torch

    names = Counter(torch.cuda.get_device_name(one) for one in split_devices(device))
    return ", ".join(name if count == 1 else f"{count} × {name}" for name, count in names.items())


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
