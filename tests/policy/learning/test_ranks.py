"""Data-parallel training: the same losses as one process with the same batch."""

import json
import os
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch

from paradp.policy.errors import SettingError
from paradp.policy.learning.ranks import Ranks, join, own_device, rank
from paradp.policy.learning.steps import descend

TRAIN = (
    "--steps",
    "12",
    "--batch-size",
    "16",
    "--channels",
    "8",
    "16",
    "--no-bf16",
    "--log-every",
    "1",
    "--save-every",
    "5",
)
STORE = Path(__file__).parents[2] / "data/behaviour/demonstrations.zarr"
MAIN = "from paradp.scripts.main import main; main()"


def train(out: Path, processes: int, *more: str) -> list[subprocess.CompletedProcess]:
    """Runs processes with the environment of `accelerate launch --num_processes …`; returns their exit codes."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = str(one.getsockname()[1])
    command = [sys.executable, "-c", MAIN, "train", "pusht", "--data", str(STORE), "--out", str(out), *TRAIN, *more]
    together = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    asking = []
    for number in range(processes):
        own = {"RANK": str(number), "LOCAL_RANK": str(number)} if processes > 1 else {}
        environment = os.environ | {"OMP_NUM_THREADS": "1"} | (together | own if processes > 1 else {})
        options = {"env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        asking.append(subprocess.Popen(command, **options))
    ended = [(process, *process.communicate(timeout=300)) for process in asking]
    return [subprocess.CompletedProcess(command, process.returncode, said, wrong) for process, said, wrong in ended]


def losses(out: Path) -> np.ndarray:
    """Training and validation losses of every step."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return np.array([[line["train_loss"], line["validation_loss"]] for line in lines])


@pytest.mark.slow
def test_two_processes_learn_the_same_as_one(tmp_path):
    [alone], both = train(tmp_path / "one", 1), train(tmp_path / "two", 2)
    for process in (alone, *both):
        assert process.returncode == 0, process.stderr
    expected, found = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(expected) == len(found) == 12 and np.abs(found / expected - 1).max() < 1e-4
    # The first one speaks and writes for both.
    assert "checkpoint" in both[0].stdout and both[1].stdout == ""
    assert sorted(p.name for p in (tmp_path / "two").iterdir()) == sorted(p.name for p in (tmp_path / "one").iterdir())


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_is_refused(tmp_path):
    first, second = train(tmp_path / "run", 2, "--batch-size", "15")
    assert first.returncode == second.returncode == 2 and not (tmp_path / "run").exists()
    assert "batch-size must be a multiple of the 2 processes that share a batch, not 15" in " ".join(first.stderr.split())


class Shares(Ranks):
    """The part of one of two processes."""

    size = 2

    def __init__(self, number):
        self.number, self.gradients = number, []

    def part(self, batch):
        return tuple(rows[self.number :: 2] for rows in batch)


def test_the_mean_of_the_parts_gradients_equals_that_of_the_batch():
    torch.manual_seed(0)
    batch = torch.randn(8, 3), torch.randn(8, 1)
    network = torch.nn.Linear(3, 1)

    def gradient(part):
        network.zero_grad()
        torch.nn.functional.mse_loss(network(part[0]), part[1]).backward()
        return network.weight.grad.clone()

    parts = [gradient(Shares(number).part(batch)) for number in range(2)]
    assert torch.allclose((parts[0] + parts[1]) / 2, gradient(batch), atol=1e-6)


def test_a_single_process_shares_nothing(monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    ranks = join(torch.device("cpu"))
    batch = (torch.zeros(3),)
    assert type(ranks) is Ranks and ranks.part(batch) is batch and ranks.agree(lambda: 5) == 5 and rank() == 0
    ranks.check(7)
    monkeypatch.setenv("RANK", "3")  # of something else than a training
    assert rank() == 0
    with pytest.raises(SettingError, match="batch_size must be a multiple of the 2 processes that share a batch, not 7"):
        Shares(0).check(7)


def test_processes_wait_while_the_first_runs_rollouts(monkeypatch):
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")
    given = []

    class Recorded:
        num_processes, is_main_process = 2, True

        def __init__(self, cpu, kwargs_handlers):
            given.extend(kwargs_handlers)

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(accelerate, "Accelerator", Recorded)
    assert join(torch.device("cpu")).size == 2
    assert [one.to_kwargs()["timeout"] for one in given] == [timedelta(days=7)]


def test_every_process_has_its_own_gpu(monkeypatch):
    assert own_device("cpu") == torch.device("cpu") and own_device("cuda:3") == torch.device("cuda:3")
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert own_device("cuda") == torch.device("cuda:2") and own_device("cpu") == torch.device("cpu")


def test_gradients_are_averaged_before_they_are_used(trained):
    """Clipping and AdamW come after the averaging."""
    from paradp.policy.learning.config import LearningConfig
    from paradp.policy.learning.state import TrainingState

    state = TrainingState(trained.network, LearningConfig(steps=5))
    before = [p.detach().clone() for p in state.network.parameters()]

    def none_left(network):
        for parameter in network.parameters():
            parameter.grad.zero_()

    descend(
        state, lambda network, x: sum(p.square().sum() for p in network.parameters()), (torch.zeros(1),), False, none_left
    )
    decay = 1e-3 * 1e-6
    for parameter, old in zip(state.network.parameters(), before, strict=True):
        assert torch.allclose(parameter, old * (1 - decay), atol=1e-9)
