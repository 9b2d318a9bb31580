"""A step of the optimiser in eager PyTorch."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from paradp.policy.learning.ranks import Ranks
from paradp.policy.learning.state import TrainingState

# The loss of a network on a batch.
Loss = Callable[..., Tensor]
_ALONE = Ranks()
_LARGEST_NORM = 1.0  # norm of all gradients together; larger ones are scaled down


class EagerStep:
    """Makes optimiser steps in eager PyTorch.

    Args:
        state: changed by every step.
        loss: computes the loss of the network on a batch.
        bf16: whether matrix products are in bfloat16 under autocast.
        ranks: the processes that share a batch.
    """

    def __init__(self, state: TrainingState, loss: Loss, bf16: bool, ranks: Ranks = _ALONE):
        self._state = state
        self._loss = loss
        self._bf16 = bf16
        self._ranks = ranks

    def __call__(self, *batch: Tensor) -> Tensor:
        """Makes one step on a whole batch; returns its loss, `[]`, on the device."""
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
    """Computes loss, gradients and AdamW's step with its current learning rate; does not wait for the device."""
    with torch.autocast(state.device.type, torch.bfloat16, enabled=bf16):
        loss = loss_of(state.network, *batch)
    state.optimiser.zero_grad()
    loss.backward()
    on_gradients(state.network)
    nn.utils.clip_grad_norm_(state.network.parameters(), _LARGEST_NORM)
    state.optimiser.step()
    return loss.detach()
