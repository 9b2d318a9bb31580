"""Wide convolutions of a live network on a CPU are matrix products of its own weights."""

import pytest
import torch
from torch import nn

from paradp.bridges import wide_convolutions
from paradp.bridges.sampling import Network
from paradp.bridges.wide_convolutions import WideConvolutions, has_wide_convolutions


@pytest.fixture
def all_wide(monkeypatch):
    """Even the narrowest convolution counts as wide."""
    monkeypatch.setattr(wide_convolutions, "LEAST_BYTES", 0)


class Theirs(nn.Module):
    """A network called as LeRobot calls its own."""

    def __init__(self, channels=6):
        super().__init__()
        self.convolution = nn.Conv1d(channels, channels, 5, padding=2)

    def forward(self, sample, timestep, global_cond=None):
        return self.convolution(sample.transpose(1, 2)).transpose(1, 2)


@pytest.mark.parametrize("options", [
    dict(kernel_size=5, padding=2), dict(kernel_size=1), dict(kernel_size=3, stride=2, padding=1, bias=False),
    dict(kernel_size=4, stride=3, dilation=2), dict(kernel_size=3, padding=4),
])  # fmt: skip
@pytest.mark.parametrize("rows", [1, 3])
@torch.no_grad()
def test_products_are_the_convolution(all_wide, monkeypatch, options, rows):
    torch.manual_seed(0)
    module, x, factors = nn.Conv1d(6, 10, **options), torch.randn(rows, 6, 9), []

    def linear(rows, *others):
        factors.append(rows)
        return torch.nn.functional.linear(rows, *others)

    monkeypatch.setattr(wide_convolutions, "linear", linear)
    with WideConvolutions():
        found = module(x)
    assert found.is_contiguous()
    [one] = factors
    assert one.is_contiguous()
    torch.testing.assert_close(found, module(x), rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("module", "x"),
    [
        (nn.Conv1d(6, 6, 3, groups=2), torch.ones(2, 6, 9)),
        (nn.Conv1d(6, 6, 3, padding="same"), torch.ones(2, 6, 9)),
        (nn.Conv1d(6, 6, 3), torch.ones(6, 9)),
        (nn.Conv1d(6, 6, 3, dtype=torch.bfloat16), torch.ones(2, 6, 9, dtype=torch.bfloat16)),
    ],
)
@torch.no_grad()
def test_other_convolutions_are_pytorchs_own(all_wide, module, x):
    with WideConvolutions():
        found = module(x)
    assert torch.equal(found, module(x))


@torch.no_grad()
def test_a_wide_network_computes_with_its_current_weights(all_wide):
    theirs = Theirs()
    network, x, t = Network(theirs), torch.randn(3, 16, 6), torch.zeros(3, dtype=torch.int64)
    for _ in range(2):
        torch.testing.assert_close(network(x, t, torch.zeros(3, 0)), theirs(x, t), rtol=1e-5, atol=1e-5)
        theirs.convolution.weight.normal_()


def test_only_wide_networks_are_changed():
    assert not has_wide_convolutions(Theirs())
    assert has_wide_convolutions(Theirs(channels=648)) and not has_wide_convolutions(Theirs(channels=647))
    assert not has_wide_convolutions(Theirs(channels=648).to(torch.bfloat16))


@torch.no_grad()
def test_the_mode_is_entered_for_wide_networks_alone(monkeypatch):
    entered = []
    monkeypatch.setattr(WideConvolutions, "__enter__", lambda self: entered.append(self))
    monkeypatch.setattr(WideConvolutions, "__exit__", lambda self, *error: None)
    for channels in (6, 648):
        Network(Theirs(channels))(torch.zeros(1, 16, channels), torch.zeros(1, dtype=torch.int64), torch.zeros(1, 0))
    assert len(entered) == 1
