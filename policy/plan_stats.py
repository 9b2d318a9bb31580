"""What a plan took: its statistics, as they travel from the solver to controllers, records, traces and the wire."""

from dataclasses import dataclass

from paradp.sampler import SolverStats

# In the order in which they follow each other.
STAGES = ("encode", "denoise", "decode")


@dataclass(frozen=True)
class PlanTiming:
    """Seconds of wall-clock time that a plan took.

    Attributes:
        seconds: of the whole plan.
        encode: to draw its noise and encode the observation.
        denoise: until the device has finished.
        decode: to turn the sample into actions.

    Plans recorded before their stages were have 0 for each stage.
    """

    seconds: float
    encode: float = 0.0
    denoise: float = 0.0
    decode: float = 0.0

    @classmethod
    def of_stages(cls, encode: float, denoise: float, decode: float) -> "PlanTiming":
        """Of stages that make up the whole plan."""
        return cls(encode + denoise + decode, encode, denoise, decode)

    @property
    def stages(self) -> dict[str, float]:
        """Name → seconds, in order."""
        return {name: getattr(self, name) for name in STAGES}


@dataclass(frozen=True)
class PlanStats:
    """What a plan for one robot took.

    Attributes:
        timing: of the plan, shared with all robots that it was made for.
        batch: how many robots those are.
        rounds, evaluations, residual: as in `SolverStats`, for this robot.
        converged: the solver finished within its budget. For counting only: plans must not be kept or thrown away by it,
            see `SolverStats.status`.
    """

    timing: PlanTiming
    batch: int
    rounds: int
    evaluations: int
    residual: float
    converged: bool

    @classmethod
    def of_robot(cls, row: int, stats: SolverStats, timing: PlanTiming) -> "PlanStats":
        """Of one row of a batch that was planned together."""
        return cls(
            timing,
            len(stats.rounds),
            int(stats.rounds[row]),
            int(stats.evaluations[row]),
            float(stats.residual[row]),
            bool(stats.converged[row]),
        )
