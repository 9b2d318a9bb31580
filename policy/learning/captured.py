"""A step of the optimiser as one CUDA graph, because networks of this size are limited by launches, not by arithmetic."""

from collections.abc import Callable

import torch
from torch import Tensor

from paradp.policy.learning.state import TrainingState
from paradp.policy.learning.steps import Loss, descend
from paradp.policy.learning.transfer import captured_or_launched


class CapturedStep:
    """Makes optimiser steps by replaying a captured one: loss, gradients, clipping, AdamW and the running average.

    Values that change from step to step are in tensors that the graph reads: the batch, the learning rate, and the weight
    of the running average. The graph also owns its gradients, which backward overwrites in every replay. On a CPU, or if
    something cannot be captured, Python launches the same work.

    Args:
        state: changed by every step.
        loss: computes the loss of the network on a batch; its launched work must not depend on values.
        bf16: whether matrix products are in bfloat16 under autocast.
    """

    def __init__(self, state: TrainingState, loss: Loss, bf16: bool):
        self._state = state
        self._loss_of = loss
        self._bf16 = bf16
        self._batch: tuple[Tensor, ...] = ()
        self._loss, self._rate, self._weight = (torch.zeros((), device=state.device) for _ in range(3))
        self._replay: Callable[[], None] | None = None
        if not state.optimiser.state:
            state.create_moments()
        for group in state.optimiser.param_groups:
            group.update(lr=self._rate, capturable=True)

    def __call__(self, *batch: Tensor) -> Tensor:
        """Makes one step on a batch with the shapes of the first; returns its loss, `[]`, on the device."""
        state = self._state
        if self._replay is None:
            self._batch = tuple(part.clone() for part in batch)
            self._replay = self._captured()
        for buffer, part in zip(self._batch, batch, strict=True):
            buffer.copy_(part)
        self._rate.fill_(state.learning_rate)
        self._weight.fill_(state.ema.weight_of(state.step))
        self._replay()
        state.step += 1
        return self._loss.clone()

    def _captured(self) -> Callable[[], None]:
        """Captures a step. This needs some warm-up steps; the state before them is restored."""
        tensors = self._state.tensors()
        before = {name: tensor.clone() for name, tensor in tensors.items()}
        replay = captured_or_launched(self._launch, self._state.device)
        for name, tensor in tensors.items():
            tensor.copy_(before[name])
        return replay

    def _launch(self) -> None:
        state = self._state
        self._loss.copy_(descend(state, self._loss_of, self._batch, self._bf16))
        state.ema.move(state.network, self._weight)
