"""The bench measures what it says: every sampler and engine in turns, on the same observations."""

import torch

from paradp.policy import DiffusionPolicy
from paradp.sampler import Sequential, step_table
from paradp.scripts.planning_time import EAGER_SAMPLERS, SAMPLERS, measure_floor, measure_plans


def test_every_contender_is_measured_and_labelled(trained):
    solver = Sequential(step_table(trained.spec.schedule))
    normalizers = trained.observation_normalizer, trained.action_normalizer
    policy = DiffusionPolicy(trained.spec, trained.network, *normalizers, solver)
    done = []
    rows = measure_plans(policy, torch.randn(4, trained.spec.condition_size), 2, 2, done.append)
    assert done == [0, 1, 2]
    assert [row.name for row in rows] == ["usual", *EAGER_SAMPLERS, *SAMPLERS, *SAMPLERS]
    assert {(row.engine, row.precision) for row in rows} == {("eager", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")}
    for row in rows:
        assert 0 < row.p50_ms <= row.p95_ms <= row.p99_ms and 0 < row.network_share <= 1 and row.batch == 2
        assert (row.error_median is not None) == (row.law == "tolerance")
        if row.name in ("usual", "ddpm"):
            assert row.rounds == row.evaluations == 100 and row.law == "exact"
        if row.name.startswith("ddim-"):
            assert row.evaluations == int(row.name.removeprefix("ddim-")) and row.law == "other"
    floor = measure_floor(policy, "cpu")
    assert min(floor.bandwidth, floor.peak, floor.flops) > 0
    assert floor.weight_bytes == 4 * sum(p.numel() for p in trained.network.parameters())
