"""One step after another: the reference that every parallel solver must equal."""

from dataclasses import dataclass

from paradp.sampler.solvers.in_rounds import InRounds
from paradp.sampler.table import StepTable


@dataclass(frozen=True)
class Sequential(InRounds):
    """Sampling along a table: T rounds of one evaluation for each environment.

    All steps captured as one CUDA graph cannot be cut short: such a solve ends when it ends.
    """

    table: StepTable

    @property
    def window(self) -> int:
        """One step a round."""
        return 1
