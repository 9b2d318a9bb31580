"""Convolutions by OpenVINO as matrix products compute the same, and only where they save time."""

import pytest
import torch
from torch import nn

from paradp.policy import build_engine
from paradp.policy.engines.building import AGREEMENT
from paradp.policy.networks.unet import ConditionalUnet1D
from paradp.policy.networks.unet_config import UnetConfig

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")

from paradp.policy.engines import openvino_products  # noqa: E402
from paradp.policy.engines.openvino_models import CompiledSizes, converted  # noqa: E402

CORE = openvino.Core()


@pytest.fixture
def all_wide(monkeypatch):
    """Even the narrowest convolution counts as wide."""
    monkeypatch.setattr(openvino_products, "LEAST_BYTES", 0)


def operations(model):
    return {node.get_type_name() for node in model.get_ordered_ops()}


def with_products(module, x):
    return openvino_products.with_products(converted(module, (x,)))


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "steps"),
    [
        (5, 1, 2, 1, 16),
        (5, 1, 2, 1, 3),
        (5, 1, 2, 1, 1),
        (7, 1, 3, 1, 2),
        (1, 1, 0, 1, 5),
        (3, 2, 1, 1, 8),
        (3, 2, 1, 1, 7),
        (3, 2, 4, 1, 5),
        (4, 3, 0, 1, 11),
        (3, 1, 2, 2, 9),
    ],
)
@torch.no_grad()
def test_products_are_the_convolution(all_wide, kernel, stride, padding, dilation, steps):
    torch.manual_seed(0)
    module, x = nn.Conv1d(6, 10, kernel, stride, padding, dilation), torch.randn(3, 6, steps)
    model = with_products(module, x)
    assert "MatMul" in operations(model) and "Convolution" not in operations(model)
    found = CORE.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([x.numpy()])[0]
    torch.testing.assert_close(torch.from_numpy(found), module(x), rtol=0, atol=2e-6)


@torch.no_grad()
def test_a_convolution_without_a_tap_inside_is_kept(all_wide):
    model = with_products(nn.Conv1d(6, 10, 2, stride=4, padding=1, dilation=2), torch.randn(3, 6, 1))
    assert "Convolution" in operations(model)


class _Denoise(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x, timestep, condition):
        return self.network.denoise(x, timestep, condition)


@pytest.mark.parametrize(
    ("channels", "kernel", "horizon"), [((8, 16, 24), 5, 16), ((8, 16, 24), 5, 4), ((16, 24), 3, 10), ((8, 8, 16), 7, 20)]
)
@torch.no_grad()
def test_a_unet_by_products_is_the_network(all_wide, channels, kernel, horizon):
    """Also where the coarsest steps are one or odd; timesteps and conditions reach every block by its scale and bias."""
    torch.manual_seed(0)
    network = ConditionalUnet1D(3, 7, UnetConfig(channels=channels, kernel_size=kernel, timestep_embedding=16)).eval()
    example = torch.randn(2, horizon, 3), *(torch.randn(2, 2 * sum(b.size for b in network.blocks())) for _ in range(2))
    sizes = CompiledSizes(CORE, converted(_Denoise(network), example), "fp32")
    for rows in (2, 20):
        inputs = [torch.randn(rows, *one.shape[1:]) for one in example]
        expected = network.denoise(*inputs)
        sizes.prepare([rows])
        assert (sizes.infer(*inputs) - expected).abs().max() < AGREEMENT["fp32"] * expected.abs().max()


def compiled_layers(engine, rows):
    engine.prepare([rows])
    model = engine._sizes.compiled[rows]._request.get_compiled_model().get_runtime_model()
    return [str(node.get_rt_info()["layerType"].astype(str)) for node in model.get_ordered_ops()]


def test_the_engine_uses_products_for_wide_convolutions(all_wide, trained):
    engine = build_engine(trained.network, trained.spec, torch.device("cpu"), "openvino")  # checks the agreement
    assert not any("Convolution" in compiled_layers(engine, n) for n in (1, 2, 8))


def test_narrow_convolutions_stay(trained):
    engine = build_engine(trained.network, trained.spec, torch.device("cpu"), "openvino")
    layers = compiled_layers(engine, 8)
    convolutions = sum(isinstance(one, nn.Conv1d) for one in trained.network.modules())
    assert layers.count("Convolution") == convolutions and "FullyConnected" not in layers


def test_convolutions_of_images_stay(all_wide):
    model = with_products(nn.Conv2d(3, 4, 3), torch.zeros(2, 3, 8, 8))
    assert "Convolution" in operations(model) and "MatMul" not in operations(model)
