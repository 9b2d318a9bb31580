"""Sequential sampling: the reference for every parallel solver."""

from dataclasses import dataclass

from paradp.sampler.solvers.in_rounds import InRounds
from paradp.sampler.table import StepTable


@dataclass(frozen=True)
class Sequential(InRounds):
    """Sequential sampling: T rounds with one evaluation per environment.

    If all steps are captured in one CUDA graph, a deadline has no effect. Without a graph each step waits for the device if
    there is a deadline.
    """

    table: StepTable

    @property
    def window(self) -> int:
        """One step per round."""
        return 1
