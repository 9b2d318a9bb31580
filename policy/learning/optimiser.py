"""The settings of the optimiser."""

import math
from dataclasses import dataclass

from paradp.policy.settings import Limits, Settings, setting


@dataclass(frozen=True)
class OptimiserSettings(Settings):
    """Settings of AdamW. The learning rate rises linearly for `warmup_steps`, then falls to 0 as half a cosine.

    Attributes:
        steps: total number of optimiser steps; the learning rate decays to zero over them.
        batch_size: windows per step.
        learning_rate: peak, after the warm-up.
        warmup_steps: steps of linear warm-up.
        weight_decay: weight decay of AdamW.
    """

    steps: int = setting(20_000, Limits(1, 10**9))
    batch_size: int = setting(256, Limits(1, 10**6))
    learning_rate: float = setting(1e-3, Limits(0.0, 1e3, above=True))
    warmup_steps: int = setting(500, Limits(0, 10**9))
    weight_decay: float = setting(1e-6, Limits(0.0, 1e3))

    def learning_rate_of(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        warmup = min(self.warmup_steps, self.steps)
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(self.steps - warmup, 1)))
