"""A step of the optimiser, launched by Python operation by operation."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from paradp.policy.learning.ranks import Ranks
from paradp.policy.learning.state import TrainingState

# Of a network and a batch.
Loss = Callable[..., Tensor]
_ALONE = Ranks()
_LARGEST_NORM = 1.0  # of all gradients together; larger ones are scaled down


class EagerStep:
    """Takes optimiser steps one operation after another.

    Args:
        state: is changed by every step.
        loss: of the network and a batch.
        bf16: whether matrix products are in bfloat16 under autocast.
        ranks: the processes that share a batch.
    """

    def __init__(self, state: TrainingState, loss: Loss, bf16: bool, ranks: Ranks = _ALONE):
        self._state = state
        self._loss = loss
        self._bf16 = bf16
        self._ranks = ranks

    def __call__(self, *batch: Tensor) -> Tensor:
        """One step on a whole batch; its loss, `[]`, on the device."""
        state = self._state
        for group in state.optimiser.param_groups:
            group["lr"] = state.learning_rate
        loss = descend(state, self._loss, self._ranks.part(batch), self._bf16, self._ranks.average)
        state.ema.update(state.network, state.step)
        state.step += 1
        return self._ranks.mean(loss)


def descend(
    state: TrainingState,
    loss_of: Loss,
    batch: tuple[Tensor, ...],
    bf16: bool,
    on_gradients: Callable[[nn.Module], None] = lambda network: None,
) -> Tensor:
    """Loss, gradients and AdamW's step with the learning rate that it has; waits for no device."""
    with torch.autocast(state.device.type, torch.bfloat16, enabled=bf16):
        loss = loss_of(state.network, *batch)
    state.optimiser.zero_grad()
    loss.backward()
    on_gradients(state.network)
    nn.utils.clip_grad_norm_(state.network.parameters(), _LARGEST_NORM)
    state.optimiser.step()
    return loss.detach()
