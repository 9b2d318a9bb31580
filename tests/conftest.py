"""Small policies and demonstrations for tests of several rooms."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from vectors import scaled

from paradp.policy import Normalizer, PolicySpec, UnetConfig
from paradp.policy.data.demonstrations import Demonstrations
from paradp.policy.data.episode import DemonstrationEpisode, DemonstrationInfo
from paradp.policy.learning.training import TrainedPolicy, spec_for
from paradp.policy.networks.building import build_network

# How long an example takes is the machine's affair.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def one_thread():
    """Sets the number of threads, as runs do: it affects the last bits of results."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Keeps the cache of engines in a session's folder instead of the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARADP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def info() -> DemonstrationInfo:
    return DemonstrationInfo(
        task="reach",
        action_convention="delta",
        observation={"position": 2, "constant": 1},
        action={"step": 2},
        action_low=(-1.0, -1.0),
        action_high=(1.0, 1.0),
        control_hz=20,
        controller={"kp": 1.0},
        made_with={"expert": "straight line"},
    )


@pytest.fixture
def spec(info) -> PolicySpec:
    return spec_for(info, UnetConfig(channels=(8, 16), timestep_embedding=16))


@pytest.fixture
def trained(spec) -> TrainedPolicy:
    """A tiny policy with random weights."""
    torch.manual_seed(0)
    network = build_network(spec).eval()
    return TrainedPolicy(
        spec,
        network,
        scaled(spec),
        Normalizer(torch.zeros(spec.action_size), torch.ones(spec.action_size)),
    )


def straight_line(seed: int, steps: int = 12) -> DemonstrationEpisode:
    """A point that moves to the origin."""
    start = np.random.default_rng(seed).uniform(-1, 1, 2)
    position = start * np.linspace(1, 0, steps)[:, None]
    actions = np.repeat(-start[None] / steps, steps, axis=0)
    return DemonstrationEpisode({"position": position, "constant": np.full((steps, 1), 0.5)}, actions, actions, seed)


@pytest.fixture
def demonstrations(tmp_path: Path, info) -> Demonstrations:
    written = Demonstrations.open_or_create(tmp_path / "demos.zarr", info)
    for seed in range(6):
        written.append(straight_line(seed, steps=10 + seed))
    return written
