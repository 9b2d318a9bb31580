"""A widened network predicts the same as the trained one."""

from dataclasses import replace

import pytest
import torch

from paradp.policy import TransformerConfig
from paradp.policy.networks.building import build_network
from paradp.policy.networks.widening import widened


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_a_widened_network_computes_the_same_function(trained, factor):
    wide, spec = widened(trained.network, trained.spec, factor)
    n, horizon = 5, trained.spec.horizons.predict
    x, t = torch.randn(n, horizon, trained.spec.action_size), torch.arange(n) * 20
    condition = torch.randn(n, trained.spec.condition_size)
    expected, found = trained.network(x, t, condition), wide(x, t, condition)
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()
    assert spec.network.channels == tuple(factor * size for size in trained.spec.network.channels)
    ratio = _parameters(wide) / _parameters(trained.network)
    assert ratio == 1 if factor == 1 else factor < ratio < factor**2


def test_a_widening_without_averaging_is_detected(trained, monkeypatch):
    """Planted fault: inputs are repeated but not divided."""
    monkeypatch.setattr("paradp.policy.networks.widening._inputs", lambda module: None)
    wide, _ = widened(trained.network, trained.spec, 2)
    x, t = torch.randn(3, trained.spec.horizons.predict, trained.spec.action_size), torch.arange(3)
    condition = torch.randn(3, trained.spec.condition_size)
    expected = trained.network(x, t, condition)
    assert (wide(x, t, condition) - expected).abs().max() > 1e-2 * expected.abs().max()


def test_a_transformer_is_refused(trained):
    spec = replace(trained.spec, network=TransformerConfig(layers=1, heads=2, embedding=16))
    with pytest.raises(ValueError, match="only a U-Net can be widened, and this policy's network is a transformer"):
        widened(build_network(spec), spec, 2)


def _parameters(network) -> int:
    return sum(p.numel() for p in network.parameters())
