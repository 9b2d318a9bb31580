"""Plans in files: flat rows, with the names and the order of files of all versions."""

import json

import pandas as pd
import pytest
from pydantic import TypeAdapter, ValidationError

from paradp.policy import Replan
from paradp.policy.plan_stats import PlanStats, PlanTiming
from paradp.rollouts.episodes.directory import steps_table
from paradp.rollouts.episodes.plan_record import read_plan_columns
from paradp.rollouts.episodes.records import Episode, StepRecord

STEP = TypeAdapter(StepRecord)
# The whole plan is not the sum of its stages, so that nothing is made of something else.
REPLAN = Replan(PlanStats(PlanTiming(0.5, 0.1, 0.2, 0.15), 4, 12, 90, 0.25, False), 3)
WRITTEN = (
    '{"seconds":0.5,"batch":4,"rounds":12,"evaluations":90,"residual":0.25,"converged":false,'
    '"lateness":3,"encode":0.1,"denoise":0.2,"decode":0.15}'
)


def step(replan: Replan | None) -> StepRecord:
    return StepRecord(0, 0.0, False, 0.6, replan, (0.0,))


def written(replan: str) -> dict:
    return json.loads(STEP.dump_json(step(None))) | {"replan": json.loads(replan)}


def test_an_episode_file_stores_a_plan_in_flat_rows():
    assert f'"replan":{WRITTEN},"action"' in STEP.dump_json(step(REPLAN)).decode()
    assert STEP.validate_python(written(WRITTEN)) == step(REPLAN)
    assert STEP.validate_python(written("null")) == step(None)


def test_a_plan_recorded_without_its_stages_is_read():
    before = '{"seconds":0.5,"batch":4,"rounds":12,"evaluations":90,"residual":0.25,"converged":false}'
    assert STEP.validate_python(written(before)).replan == Replan(PlanStats(PlanTiming(0.5), 4, 12, 90, 0.25, False))


@pytest.mark.parametrize("name", json.loads(WRITTEN))
def test_errors_name_the_columns_of_a_plan_as_in_the_file(name):
    with pytest.raises(ValidationError) as refused:
        STEP.validate_python(written(json.dumps(json.loads(WRITTEN) | {name: "many"})))
    assert [problem["loc"] for problem in refused.value.errors()] == [("replan", name)]


def test_tables_store_a_plan_in_columns():
    table = steps_table([Episode(0, 0.0, False, 0.0, 1.0, [step(REPLAN), step(None)])])
    columns = {f"replan_{name}": value for name, value in json.loads(WRITTEN).items()}
    assert [name for name in table.columns if name.startswith("replan_")] == list(columns)
    first, second = table.to_dict("records")
    assert {name: first[name] for name in columns} == columns
    assert all(pd.isna(second[name]) for name in columns)
    assert read_plan_columns(first) == REPLAN and read_plan_columns(second) is None
