"""The description of the machine contains what this process may use of it."""

import os
from importlib.metadata import PackageNotFoundError

import pytest
import torch

from paradp.policy.learning.ranks import own_device
from paradp.rollouts import RolloutConfig, machine
from paradp.rollouts.episodes import backends
from paradp.rollouts.machine import cores
from paradp.sampler import SamplerChoice
from paradp.scripts import places
from paradp.scripts.places import check_device


def test_the_versions_of_a_run_include_those_of_its_tasks_packages():
    known = machine.versions()
    assert machine.versions(["pytest", "no-such-package"]) == known | {"pytest": pytest.__version__}


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("max 100000", None),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("9900000 100000", None),
        ("odd", None),
        ("0 0", None),
    ],
)
def test_a_containers_share_of_the_machine_counts(tmp_path, limit, expected):
    (tmp_path / "cpu.max").write_text(f"{limit}\n")
    allowed = len(os.sched_getaffinity(0))
    assert cores(tmp_path) == min(expected or allowed, allowed)


def test_a_source_tree_that_is_not_installed_has_no_version(monkeypatch):
    def version(name):
        if name == "paradp":
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(machine, "version", version)
    found = machine.versions()
    assert "paradp" not in found and found["torch"] == "1"


def test_the_share_of_older_containers_counts_too(tmp_path):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("100000\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert cores(tmp_path) == 1
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("-1\n")
    assert cores(tmp_path) == cores(tmp_path / "nowhere") == len(os.sched_getaffinity(0))


class Driver:
    """A substitute for CUDA's driver with this many devices; it may fail to start."""

    def __init__(self, count: int, starts: bool = True):
        self._count, self._starts = count, starts

    def cuInit(self, flags):
        return 0 if self._starts else 999

    def cuDeviceGetCount(self, count):
        count._obj.value = self._count
        return 0


@pytest.mark.parametrize(("driver", "count"), [(Driver(2), 2), (Driver(0), 0), (Driver(2, starts=False), 0), (None, 0)])
def test_devices_are_counted_without_pytorch(monkeypatch, driver, count):
    def load(name):
        if driver is None:
            raise OSError("libcuda.so.1: cannot open shared object file")
        return driver

    monkeypatch.setattr(machine.ctypes, "CDLL", load)
    assert machine.cuda_devices() == count
    good = ["cpu", *(f"cuda:{i}" for i in range(count)), *(["cuda"] if count else [])]
    for device in good:
        check_device(device)
    for device in {"cuda", "cuda:0", "cuda:1", "cuda:2", "abacus", "", "cuda:-1", "CPU"} - {*good}:
        with pytest.raises(ValueError, match=f"--device '{device}' is not available; there is: cpu"):
            check_device(device)


def test_several_devices_are_checked_at_once_and_a_training_takes_one(monkeypatch):
    monkeypatch.setattr(places, "cuda_devices", lambda: 2)
    for device in ("cpu,cpu", "cuda:0,cuda:1"):
        check_device(device)
        with pytest.raises(ValueError, match=f"--device '{device}' names several devices, and a process trains on one"):
            check_device(device, several=False)
    with pytest.raises(
        ValueError, match="'cuda:7' in --device 'cuda:0,cuda:7' is not available; there is: cpu, cuda:0, cuda:1"
    ):
        check_device("cuda:0,cuda:7")
    with pytest.raises(ValueError, match="device 'cuda:0,cuda:1' names several devices, and a process trains on one"):
        own_device("cuda:0,cuda:1")


def test_a_worker_of_ray_asks_for_as_many_gpus_as_it_computes_on(tmp_path):
    def config(device):
        return RolloutConfig("square", SamplerChoice.parse("ddpm"), tmp_path, threads=2, device=device)

    asked = [backends._needs(config(device))["num_gpus"] for device in ("cpu", "cpu,cpu", "cuda", "cuda:0,cuda:1")]
    assert asked == [0, 0, 1, 2]


def test_the_cards_of_a_run_are_named(monkeypatch):
    names = {"cuda:0": "card A", "cuda:1": "card A", "cuda:2": "card B"}
    monkeypatch.setattr(torch.cuda, "get_device_name", names.__getitem__)
    assert "gpu" not in machine.hardware("cpu,cpu")
    assert machine.hardware("cuda:2")["gpu"] == "card B"
    assert machine.hardware("cuda:0,cuda:1,cuda:2")["gpu"] == "2 × card A, card B"
