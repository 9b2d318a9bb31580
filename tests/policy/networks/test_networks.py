"""The U-Net, its average, and the normaliser."""

import pytest
import torch

from paradp.policy import ConditionalUnet1D, Normalizer, UnetConfig
from paradp.policy.networks.stacked import condition_encoder
from paradp.policy.networks.transformer import ConditionalTransformer, TransformerConfig


@pytest.mark.parametrize(("channels", "horizon"), [((16,), 16), ((8, 16), 16), ((8, 16, 32), 16), ((8, 16, 32), 8)])
def test_the_unet_keeps_the_shape_for_any_depth(channels, horizon):
    network = ConditionalUnet1D(10, 7, UnetConfig(channels=channels))
    assert network(torch.randn(3, horizon, 10), torch.tensor([0, 50, 99]), torch.randn(3, 7)).shape == (3, horizon, 10)


def test_the_default_unet_has_4_6_million_parameters():
    network = ConditionalUnet1D(10, 58, UnetConfig())
    assert 4.5e6 < sum(p.numel() for p in network.parameters()) < 4.7e6


def make_transformer(observed: int = 2) -> ConditionalTransformer:
    return ConditionalTransformer(2, 3, 16, observed, TransformerConfig(layers=2, embedding=32)).eval()


@pytest.mark.parametrize("kind", ["unet", "transformer"])
def test_a_prediction_depends_on_every_input_and_rows_are_independent(kind):
    torch.manual_seed(0)
    network = make_transformer() if kind == "transformer" else ConditionalUnet1D(2, 6, UnetConfig(channels=(8, 16)))
    network.double()  # a random transformer depends on its observations only little at first
    x, t, c = torch.randn(4, 16, 2).double(), torch.tensor([1, 2, 3, 4]), torch.randn(4, 6).double()
    base = network(x, t, c)
    for changed in (network(x + 1, t, c), network(x, t + 50, c), network(x, t, c + 1)):
        assert (changed - base).abs().amax((1, 2)).min() > 1e-6
    x[1:] = 0
    assert torch.allclose(network(x, t, c)[0], base[0], rtol=0, atol=1e-12)


def test_the_transformers_actions_do_not_attend_to_later_ones():
    """Neither later actions nor later observations: with To = 4, action s sees observations 0 … s."""
    torch.manual_seed(0)
    network = make_transformer(observed=4)
    x, t, c = torch.randn(1, 16, 2), torch.tensor([7]), torch.randn(1, 12)
    base = network(x, t, c)
    later = x.clone()
    later[:, 9] += 1
    changed = (network(later, t, c) - base).abs().amax(2)[0]
    assert changed[:9].max() == 0 and changed[9:].min() > 0
    observed = c.clone()
    observed[:, 2 * 3 : 3 * 3] += 1
    changed = (network(x, t, observed) - base).abs().amax(2)[0]
    assert changed[:2].max() == 0 and changed[2:].min() > 0


@pytest.mark.parametrize("options", [{"heads": 3}, {"layers": 0}, {"embedding": 5}, {"embedding": 2}])
def test_impossible_transformers_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        TransformerConfig(**options)


@pytest.mark.parametrize("options", [{"channels": ()}, {"channels": (12,)}, {"kernel_size": 4}, {"timestep_embedding": 2}])
def test_impossible_sizes_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        UnetConfig(**options)


def test_a_normaliser_round_trips_and_maps_limits_to_one():
    values = torch.rand(100, 5) * torch.tensor([1.0, 2.0, 0.5, 3.0, 3.0]) + 7
    normalizer = Normalizer.fit(values, {"position": 3, "other": 2})
    normalized = normalizer.normalize(values)
    assert torch.allclose(normalizer.denormalize(normalized), values, atol=1e-5)
    assert normalized[:, :3].abs().max() == pytest.approx(1, abs=1e-5)
    # The dimensions of one quantity share a scale: geometry is kept.
    assert len(normalizer.scale[:3].unique()) == 1 and normalizer.scale[0] != normalizer.scale[4]


def test_a_constant_quantity_stays_finite():
    values = torch.cat([torch.full((50, 1), 0.3), torch.rand(50, 1)], dim=1)
    normalizer = Normalizer.fit(values, {"constant": 1, "varying": 1})
    assert normalizer.normalize(values)[:, 0].abs().max() < 1e-6
    assert normalizer.normalize(torch.tensor([[0.4, 0.5]])).isfinite().all()
    assert normalizer.denormalize(torch.zeros(1, 2))[0, 0] == pytest.approx(0.3)


def test_a_normaliser_names_what_it_cannot_fit():
    values = torch.zeros(4, 3)
    values[2, 1] = torch.nan
    with pytest.raises(ValueError, match="velocity holds values that are not finite"):
        Normalizer.fit(values, {"position": 1, "velocity": 2})
    with pytest.raises(ValueError, match="do not add up"):
        Normalizer.fit(values, {"position": 1})


def test_conditions_of_all_layers_are_computed_in_one_product(trained):
    condition = torch.randn(5, trained.spec.condition_size)
    expected = trained.network.encode_condition(condition)
    found = condition_encoder(trained.network)(condition)
    assert found.shape == expected.shape and (found - expected).abs().max() < 1e-5 * expected.abs().max()
