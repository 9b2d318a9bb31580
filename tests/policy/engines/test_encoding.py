"""Images are encoded once per plan, with the engine's software, and with the same result as in PyTorch."""

import dataclasses

import numpy as np
import pytest
import torch

from paradp.policy import DiffusionPolicy, Normalizer, UnetConfig, build_engine
from paradp.policy.data.normalizer import ObservationNormalizer
from paradp.policy.engines import encoding
from paradp.policy.engines.encoding import CapturedEncoder, PlainEncoder, build_encoder
from paradp.policy.engines.pytorch import CudaGraphEngine, EagerEngine
from paradp.policy.networks.building import build_network
from paradp.policy.networks.vision.config import VisionConfig
from paradp.policy.networks.vision.encoder import VisionEncoder
from paradp.sampler import SamplerChoice

CPU = torch.device("cpu")
SIZE = (40, 44, 3)
CONFIGS = {
    "separate": VisionConfig(stem=16, keypoints=4, crop=(36, 38)),
    "shared": VisionConfig(stem=16, keypoints=4, separate=False),
    "batch normalisation, resized": VisionConfig(stem=16, norm="batch", keypoints=4, resize=(36, 40), crop=(32, 37)),
    "two groups": VisionConfig(stem=32, keypoints=4),
}


@pytest.fixture
def policy_of(request, spec):
    """A policy with two cameras, on an engine and with a sampler."""
    config = CONFIGS[getattr(request, "param", "two groups")]
    observation = {"front": SIZE, "position": 2, "wrist": SIZE}
    network = UnetConfig(channels=(16, 32), timestep_embedding=16)
    seeing = dataclasses.replace(spec, observation=observation, network=network, vision=config)
    torch.manual_seed(0)
    module = build_network(seeing).eval()
    data = {"front": torch.zeros(1, *SIZE), "position": torch.rand(9, 2), "wrist": torch.zeros(1, *SIZE)}
    observations = ObservationNormalizer.fit(data, seeing.observed)
    actions = Normalizer(torch.zeros(seeing.action_size), torch.ones(seeing.action_size))

    def make(engine, sampler="ddim-5"):
        solver = SamplerChoice.parse(sampler).build(seeing.schedule)
        return DiffusionPolicy(seeing, module, observations, actions, solver, CPU, engine(module, seeing))

    return make


def seen(robots):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (2, robots, 2, *SIZE), dtype=np.uint8)
    return {"front": images[0], "wrist": images[1], "position": generator.random((robots, 2, 2), np.float32)}


def graphs(network, spec):
    return CudaGraphEngine(network, spec, CPU)


def built(name):
    return lambda network, spec: build_engine(network, spec, CPU, name)


ENGINES = {"eager": built("eager"), "openvino": built("openvino"), "cuda-graph": graphs}


@pytest.mark.parametrize("policy_of", CONFIGS, indirect=True)
def test_openvino_encodes_as_pytorch_does(policy_of):
    """Whatever the number of robots, compiled ahead or not."""
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    eager, compiled = policy_of(built("eager")), policy_of(built("openvino"))
    for robots in (11, 1):
        expected, found = eager.condition(seen(robots)), compiled.condition(seen(robots))
        assert found.shape == (robots, eager.spec.condition_size)
        assert (found - expected).abs().max() < 1e-4 * expected.abs().max()
        compiled.prepare(1)


@pytest.mark.parametrize("engine", ENGINES)
def test_images_are_encoded_once_a_plan(policy_of, engine, monkeypatch):
    """For any number of rounds and evaluations."""
    if engine == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is not installed")
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    policy = policy_of(ENGINES[engine], "speculative-ddpm:window=8")
    calls = []
    if engine == "openvino":
        infer = policy._encoder._sizes.infer
        monkeypatch.setattr(policy._encoder._sizes, "infer", lambda *images: calls.append(len(images[0])) or infer(*images))
    else:
        forward = VisionEncoder.forward
        monkeypatch.setattr(
            VisionEncoder,
            "forward",
            lambda self, one, places=None: calls.append(len(one["front"])) or forward(self, one, places),
        )
    plan = policy.plan(seen(2), [torch.Generator().manual_seed(i) for i in range(2)])
    assert calls == [2] and plan.stats.rounds.min() > 5
    assert 0 < plan.timing.encode < plan.timing.seconds and plan.timing.denoise > 0


def test_a_captured_encoder_has_buffers_for_every_number_of_robots(policy_of):
    """On a CPU nothing is captured; earlier results stay valid when more is encoded."""
    policy = policy_of(built("eager"))
    captured = CapturedEncoder(policy.network)
    observations = {
        n: policy._observation_normalizer.normalize({k: torch.from_numpy(v) for k, v in seen(n).items()}) for n in (1, 3)
    }
    first = captured(observations[1])
    again = captured({key: -values for key, values in observations[1].items()})
    for n, one in observations.items():
        assert torch.equal(captured(one), policy.network.encode_observation(one)) and sorted(captured._captured)[-1] == n
    assert torch.equal(first, policy.network.encode_observation(observations[1])) and not torch.equal(first, again)
    captured.prepare(3)
    assert list(captured._captured) == [3]


def test_an_engine_with_another_encoder_is_refused(policy_of, monkeypatch):
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    from paradp.policy.engines import openvino

    find = openvino.OpenVINOEncoder.__call__
    monkeypatch.setattr(openvino.OpenVINOEncoder, "__call__", lambda self, one: 1.01 * find(self, one))
    with pytest.raises(ValueError, match="the openvino engine encodes images differently from PyTorch"):
        policy_of(built("openvino"))


def test_without_images_nothing_is_compiled(trained):
    encoder = build_encoder(trained.network, trained.spec, EagerEngine(trained.network, trained.spec, CPU), CPU)
    assert isinstance(encoder, PlainEncoder)


def test_a_gpu_captures_where_its_engine_captures(policy_of, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    monkeypatch.setattr(encoding, "capture", lambda launch, device: launch)
    policy = policy_of(built("eager"))
    network, spec = policy.network, policy.spec
    engine = CudaGraphEngine(network, spec, CPU)
    assert isinstance(build_encoder(network, spec, engine, torch.device("cuda")), CapturedEncoder)
    assert isinstance(build_encoder(network, spec, EagerEngine(network, spec, CPU), torch.device("cuda")), PlainEncoder)
