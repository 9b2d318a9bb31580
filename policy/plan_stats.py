"""Statistics of a plan, which are passed from the solver to controllers, records, traces and messages."""

from dataclasses import dataclass

from paradp.sampler import SolverStats

# The stages in order.
STAGES = ("encode", "denoise", "decode")


@dataclass(frozen=True)
class PlanTiming:
    """Wall-clock times of a plan in seconds.

    Attributes:
        seconds: the whole plan.
        encode: drawing its noise and encoding the observation.
        denoise: denoising, until the device has finished.
        decode: converting the sample to actions.

    Records of versions that did not measure the stages have 0 for each.
    """

    seconds: float
    encode: float = 0.0
    denoise: float = 0.0
    decode: float = 0.0

    @classmethod
    def of_stages(cls, encode: float, denoise: float, decode: float) -> "PlanTiming":
        """Makes it from the stages, whose sum is the whole plan."""
        return cls(encode + denoise + decode, encode, denoise, decode)

    @property
    def stages(self) -> dict[str, float]:
        """Name → seconds, in order."""
        return {name: getattr(self, name) for name in STAGES}


@dataclass(frozen=True)
class PlanStats:
    """The cost of a plan for one robot.

    Attributes:
        timing: times of the plan, shared by all robots of its batch.
        batch: number of robots in the batch.
        rounds, evaluations, residual: as in `SolverStats`, for this robot.
        converged: the solver finished within its budget. For counting only: do not select plans by it, see
            `SolverStats.status`.
    """

    timing: PlanTiming
    batch: int
    rounds: int
    evaluations: int
    residual: float
    converged: bool

    @classmethod
    def of_robot(cls, row: int, stats: SolverStats, timing: PlanTiming) -> "PlanStats":
        """Makes the statistics of one row of a batch."""
        return cls(
            timing,
            len(stats.rounds),
            int(stats.rounds[row]),
            int(stats.evaluations[row]),
            float(stats.residual[row]),
            bool(stats.converged[row]),
        )
