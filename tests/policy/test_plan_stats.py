"""Statistics of a plan, for one robot of a batch."""

import torch

from paradp.policy.plan_stats import PlanStats, PlanTiming
from paradp.sampler import SolverStats, Status


def test_each_robot_gets_its_own_row_and_the_common_time():
    status = torch.tensor([Status.CONVERGED, Status.OUT_OF_BUDGET, Status.CONVERGED])
    rows = SolverStats(
        torch.tensor([7, 9, 5]), torch.tensor([20, 30, 10]), torch.tensor([0.5, 0.25, 0.0]), status, torch.full((3,), -1)
    )
    timing = PlanTiming.of_stages(0.125, 0.5, 0.25)
    assert timing.seconds == 0.875 and timing.stages == {"encode": 0.125, "denoise": 0.5, "decode": 0.25}
    assert [PlanStats.of_robot(row, rows, timing) for row in range(3)] == [
        PlanStats(timing, 3, 7, 20, 0.5, True),
        PlanStats(timing, 3, 9, 30, 0.25, False),
        PlanStats(timing, 3, 5, 10, 0.0, True),
    ]
