"""The U-Net with channels last computes the same as the network, in PyTorch and in OpenVINO's bf16."""

import pytest
import torch

from paradp.policy.engines.building import build_engine
from paradp.policy.engines.channels_last import ChannelsLastUnet
from paradp.policy.networks.unet import ConditionalUnet1D
from paradp.policy.networks.unet_config import UnetConfig


@pytest.mark.parametrize(
    ("channels", "kernel", "horizon", "actions", "rows"),
    [
        ((24, 48), 5, 16, 10, 3),
        ((8,), 3, 8, 2, 1),
        ((8, 16), 1, 8, 7, 20),
        ((64, 32), 3, 8, 10, 2),  # a block after a skip connection that has no residual of its own
        ((16, 24, 40), 3, 16, 16, 1),  # and one as wide as the actions
        ((8, 16, 24), 7, 4, 3, 2),  # coarsest steps fewer than the kernel's taps
        ((16, 24), 3, 10, 3, 2),
    ],
)
@torch.no_grad()
def test_channels_last_is_the_network(channels, kernel, horizon, actions, rows):
    torch.manual_seed(0)
    config = UnetConfig(channels=channels, kernel_size=kernel, timestep_embedding=16)
    network = ConditionalUnet1D(actions, 7, config).double().eval()
    for parameter in network.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, std=0.5)
    film = 2 * sum(block.size for block in network.blocks())
    inputs = (torch.randn(rows, horizon, actions).double(), *(torch.randn(2, rows, film).double()))
    torch.testing.assert_close(ChannelsLastUnet(network).denoise(*inputs), network.denoise(*inputs), rtol=0, atol=1e-12)


def test_openvino_computes_a_unet_in_bf16_as_products(trained):
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no instructions for bf16")
    engine = build_engine(trained.network, trained.spec, torch.device("cpu"), "openvino", "bf16")  # checks the agreement
    for rows in (1, 8):
        engine.prepare([rows])
        model = engine._sizes.compiled[rows]._request.get_compiled_model().get_runtime_model()
        layers = {str(node.get_rt_info()["layerType"].astype(str)) for node in model.get_ordered_ops()}
        assert "FullyConnected" in layers and not layers & {"Convolution", "Deconvolution", "MVN"}
