"""Policies with random weights and a task's camera images."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from paradp.bridges.to_lerobot import write_lerobot
from paradp.policy import DiffusionPolicy, Normalizer, PolicySpec, UnetConfig
from paradp.policy.data.normalizer import ObservationNormalizer
from paradp.policy.learning.training import TrainedPolicy
from paradp.policy.networks.building import build_network
from paradp.policy.networks.vision.config import VisionConfig
from paradp.rollouts.collect import DEFAULT_ACTION_NOISE, describe
from paradp.sampler import SamplerChoice

CONVENTIONS = {"pusht": "position", "lift": "absolute"}


def spec_of(task: str) -> PolicySpec:
    info = describe(task, CONVENTIONS[task], DEFAULT_ACTION_NOISE, 0, "image")
    names = ("task", "observation", "action", "action_low", "action_high", "action_convention", "control_hz", "controller")
    network = UnetConfig(channels=(8, 16), timestep_embedding=16)
    vision = VisionConfig(keypoints=4, separate=False)
    return PolicySpec(**{name: getattr(info, name) for name in names}, network=network, vision=vision)


@cache
def trained_of(task: str) -> TrainedPolicy:
    """A policy with random weights, whose actions depend on its images."""
    spec = spec_of(task)
    torch.manual_seed(0)
    network = build_network(spec).eval()
    with torch.no_grad():
        network.vision.encoders[0].pool.maps.weight *= 1000  # keypoints of untrained weights would all lie in the middle
    reach = {"pusht": 512.0, "lift": 1.0}[task]
    far = {key: torch.full(feature.shape, reach) for key, feature in spec.observed.items()}
    seen = {key: torch.stack([-value, value]) for key, value in far.items()}
    low, high = torch.tensor(spec.action_low), torch.tensor(spec.action_high)
    actions = Normalizer((low + high) / 2, (high - low) / 2)
    return TrainedPolicy(spec, network, ObservationNormalizer.fit(seen, spec.observed), actions)


def seeing_in_lerobots_form(task: str, folder: Path) -> Path:
    """The files of such a policy as LeRobot writes them, without facts; its camera is `observation.image`."""
    own = trained_of(task)
    vectors = {key: shape for key, shape in own.spec.observation.items() if isinstance(shape, int)}
    [image] = own.spec.observation.keys() - vectors.keys()
    observation = {**vectors, image: own.spec.observation[image]}
    spec = replace(own.spec, observation=observation, vision=VisionConfig(stem=64, keypoints=4))
    parts = dict(zip(own.spec.observed, own.observation_normalizer.parts, strict=True))
    normalizer = ObservationNormalizer({key: parts[key] for key in spec.observed})
    folder.mkdir()
    keys = {"observation.state": vectors, "observation.image": image}
    trained = TrainedPolicy(spec, build_network(spec).eval(), normalizer, own.action_normalizer)
    write_lerobot(trained, folder, "# a card", observation=keys)
    (folder / "paradp.yaml").unlink()
    return folder


def policy_of(task: str) -> DiffusionPolicy:
    trained = trained_of(task)
    solver = SamplerChoice.parse("ddim-2").build_first(trained.spec.schedule, None)
    return DiffusionPolicy(trained.spec, trained.network, trained.observation_normalizer, trained.action_normalizer, solver)
