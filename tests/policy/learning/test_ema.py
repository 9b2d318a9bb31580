"""The running average of weights, step by step."""

import pytest
import torch

from paradp.policy.learning.ema import EMA
from paradp.policy.learning.optimiser import OptimiserSettings
from paradp.policy.learning.state import TrainingState
from paradp.policy.learning.steps import EagerStep


def one_weight(value: float) -> torch.nn.Linear:
    network = torch.nn.Linear(1, 1, bias=False).double()
    network.weight.data.fill_(value)
    return network


def test_the_average_equals_the_formula_at_every_step():
    network = one_weight(5.0)
    ema, expected = EMA(network), 5.0
    for step, value in enumerate([1.0, 2.0, -3.0, 0.5]):
        network.weight.data.fill_(value)
        ema.update(network, step)
        decay = 1 - (1 + step) ** -0.75
        expected = decay * expected + (1 - decay) * value
        assert ema.network.weight.item() == pytest.approx(expected, abs=1e-12)
        if step == 0:
            assert ema.network.weight.item() == value  # nothing is left of the weights that were drawn at random


def test_the_memory_of_the_average_is_limited():
    network = one_weight(0.0)
    ema = EMA(network)
    network.weight.data.fill_(1.0)
    ema.update(network, 10**9)
    assert ema.network.weight.item() == pytest.approx(1 - 0.9995, abs=1e-12)


def test_training_averages_from_its_first_step_on():
    network = one_weight(1.0)
    state = TrainingState(network, OptimiserSettings(steps=10, learning_rate=0.1, warmup_steps=0, weight_decay=0.0))

    def loss(network):
        return (network.weight - 3.0).square().sum()

    step = EagerStep(state, loss, bf16=False)
    step()
    first = network.weight.item()
    assert first != 1.0 and state.ema.network.weight.item() == first
    step()
    second, decay = network.weight.item(), 1 - 2**-0.75
    assert second != first
    assert state.ema.network.weight.item() == pytest.approx(decay * first + (1 - decay) * second, abs=1e-12)
