"""A plan as a flat row of numbers, for the episode's file and the tables of control steps."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from paradp.policy import Replan
from paradp.policy.plan_stats import PlanStats, PlanTiming


@dataclass(frozen=True)
class PlanRecord:
    """A `Replan` as it is stored. Names and order are those of the files; the defaults are for files of older versions."""

    seconds: float
    batch: int
    rounds: int
    evaluations: int
    residual: float
    converged: bool
    lateness: int = 0
    encode: float = 0.0
    denoise: float = 0.0
    decode: float = 0.0

    @classmethod
    def of(cls, replan: Replan) -> "PlanRecord":
        stats = replan.stats
        return cls(
            stats.timing.seconds,
            stats.batch,
            stats.rounds,
            stats.evaluations,
            stats.residual,
            stats.converged,
            replan.lateness,
            **stats.timing.stages,
        )

    def replan(self) -> Replan:
        """Converts the record back to a `Replan`."""
        timing = PlanTiming(self.seconds, self.encode, self.denoise, self.decode)
        stats = PlanStats(timing, self.batch, self.rounds, self.evaluations, self.residual, self.converged)
        return Replan(stats, self.lateness)


class Flat:
    """An annotation for `Replan`: pydantic reads and writes it as a `PlanRecord`."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        record = handler(PlanRecord)
        return core_schema.no_info_after_validator_function(
            PlanRecord.replan,
            record,
            serialization=core_schema.plain_serializer_function_ser_schema(PlanRecord.of, return_schema=record),
        )


_COLUMNS = {field.name: f"replan_{field.name}" for field in fields(PlanRecord)}


def plan_columns(replan: Replan | None) -> dict[str, Any]:
    """Returns the columns of a plan in a table of control steps; empty if the step began without a plan."""
    record = None if replan is None else PlanRecord.of(replan)
    return {column: getattr(record, name, None) for name, column in _COLUMNS.items()}


def read_plan_columns(row: Mapping[str, Any]) -> Replan | None:
    """Reads the columns that `plan_columns` wrote."""
    import pandas as pd  # not needed for reading a summary

    values: dict[str, Any] = {name: row.get(column) for name, column in _COLUMNS.items()}
    return None if pd.isna(values["seconds"]) else PlanRecord(**values).replan()
