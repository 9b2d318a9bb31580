"""Images go to the process that plans through shared memory: the plans are the same, and no memory is left behind."""

import os
import pickle
import signal
from concurrent.futures import wait
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from paradp.checkpoints import load_policy, save_checkpoint
from paradp.policy import Normalizer, UnetConfig
from paradp.policy.control.shared_frames import SLOTS, Handed, SharedFrames
from paradp.policy.control.sources import InProcess, InThread
from paradp.policy.data.normalizer import ObservationNormalizer
from paradp.policy.learning.training import TrainedPolicy, spec_for
from paradp.policy.networks.building import build_network
from paradp.policy.requests import PlanRequest

SHAPES = {"front": (12, 20, 3), "wrist": (9, 7, 1)}


@pytest.fixture
def spec(info):
    observation = {"front": SHAPES["front"], "position": 2, "wrist": SHAPES["wrist"]}
    return spec_for(replace(info, observation=observation), UnetConfig(channels=(8, 16), timestep_embedding=16))


def request_of(spec, seed: int) -> PlanRequest:
    random = np.random.default_rng(seed)
    history = {key: random.integers(256, size=(2, *shape), dtype=np.uint8) for key, shape in SHAPES.items()}
    history["position"] = random.uniform(-1, 1, (2, 2)).astype(np.float32)
    return PlanRequest({key: history[key] for key in spec.observed}, seed, np.zeros((16, 2), np.float32))


def same(one: PlanRequest, other: PlanRequest) -> bool:
    assert list(one.history) == list(other.history)
    return all(np.array_equal(part, other.history[key]) for key, part in one.history.items())


def test_a_ring_keeps_every_request_until_it_is_freed(spec):
    frames = SharedFrames(spec)
    requests = [request_of(spec, seed) for seed in range(SLOTS + 1)]
    handed = [frames.hand(request) for request in requests]
    assert [one.slot for one in handed] == [*range(SLOTS), None]
    assert all(same(frames.take(one), request) for one, request in zip(handed, requests, strict=True))
    frames.free(handed[1])
    again = frames.hand(requests[-1])
    assert again.slot == 1 and same(frames.take(again), requests[-1]) and same(frames.take(handed[0]), requests[0])
    assert again.request.guess is requests[-1].guess and len(pickle.dumps(again)) < 2000 < len(pickle.dumps(handed[-1]))


@pytest.mark.parametrize(
    "other",
    [
        {"front": np.zeros((2, 12, 20, 3), np.float32)},
        {"front": np.zeros((2, 20, 12, 3), np.uint8)},
        {"front": None},
        {"more": np.zeros(3)},
    ],
)
def test_images_that_the_policy_does_not_observe_are_sent_unchanged(spec, other):
    frames, request = SharedFrames(spec), request_of(spec, 0)
    wrong = replace(request, history={**request.history, **other})
    assert frames.hand(wrong).request is wrong and frames.hand(request).slot == 0


def test_a_policy_without_images_shares_nothing(info):
    spec = spec_for(info, UnetConfig(channels=(8, 16), timestep_embedding=16))
    request = PlanRequest({"position": np.zeros((2, 2), np.float32), "constant": np.zeros((2, 1), np.float32)}, 0)
    assert SharedFrames(spec).hand(request) == Handed(request)


@pytest.fixture
def checkpoint(spec, tmp_path) -> Path:
    torch.manual_seed(0)
    scale = torch.tensor([128.0] * 3 + [1.0] * 2 + [128.0])
    normalizer = ObservationNormalizer.of(spec.observed, scale * torch.tensor([1, 1, 1, 0, 0, 1.0]), scale)
    actions = Normalizer(torch.zeros(spec.action_size), torch.ones(spec.action_size))
    save_checkpoint(TrainedPolicy(spec, build_network(spec).eval(), normalizer, actions), tmp_path / "seeing", "card")
    return tmp_path / "seeing"


# Long: processes take seconds to start, and everything is asked of the same ones.
def test_plans_equal_those_of_a_thread_and_killed_processes_leave_no_memory(spec, checkpoint):
    there = {path.name for path in Path("/dev/shm").iterdir()} if Path("/dev/shm").is_dir() else set()
    load = partial(load_policy, checkpoint, "ddim-2", engine="eager")
    requests = [request_of(spec, seed) for seed in range(2 * SLOTS)]
    thread = InThread(load())
    expected = [thread.submit(request).result(60).actions for request in requests]
    thread.close()
    assert not np.array_equal(expected[0], expected[1])
    source = InProcess(spec, load, threads=1)

    def plans() -> list[np.ndarray]:
        futures = [source.submit(request) for request in requests]  # more than there are slots
        return [future.result(120).actions for future in futures]

    assert all(map(np.array_equal, plans(), expected))
    assert sorted(source._frames._free) == list(range(SLOTS))
    (process,) = source._processes
    os.kill(process.pid, signal.SIGSTOP)
    hanging = [source.submit(request) for request in requests[:3]]
    assert len(source._frames._free) == SLOTS - 3
    source.restart()
    wait(hanging, 60)
    assert not process.is_alive() and all(map(np.array_equal, plans(), expected))
    assert sorted(source._frames._free) == list(range(SLOTS))
    (process,) = source._processes
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    source.close()
    if Path("/dev/shm").is_dir():
        made = {path.name for path in Path("/dev/shm").iterdir()} - there
        assert not [name for name in made if name.startswith(("psm_", "pym-"))]
