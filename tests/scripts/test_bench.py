"""The bench measures what it says: every sampler and engine in turns, on the same observations."""

from dataclasses import replace

import pytest
import torch

from paradp.policy import DiffusionPolicy, planner
from paradp.policy.torch_engines import EagerEngine
from paradp.sampler import NoisePath, Picard, Sequential, step_table
from paradp.scripts.baselines import PlainNetwork, PublishedParaDDPM, UsualLoop
from paradp.scripts.floor import measure_floor
from paradp.scripts.planning_time import PUBLISHED, SAMPLERS, SOME_SAMPLERS, USUAL, Bench


@pytest.fixture
def policy(trained) -> DiffusionPolicy:
    solver = Sequential(step_table(trained.spec.schedule))
    return DiffusionPolicy(trained.spec, trained.network, trained.observation_normalizer, trained.action_normalizer, solver)


def test_every_contender_is_measured_and_labelled(policy, monkeypatch):
    monkeypatch.setattr(planner, "TRIALS", 4)
    monkeypatch.setattr(planner, "MOST_ROWS", 32)
    conditions = torch.randn(4, policy.spec.condition_size)
    bench = Bench(policy, conditions, 2, ("eager", "openvino"))
    monkeypatch.setattr(bench, "_slow_arithmetic", lambda: None)  # whatever this CPU is good at
    assert len(list(bench.build())) == len(bench.wanted) == 1 + 2 * len(SOME_SAMPLERS) + len(SAMPLERS)
    assert bench.warm_up() > 0
    assert len(list(bench.measure(2))) == bench.turns(2) == 50
    rows = bench.rows()
    assert not bench.left_out
    assert [row.name for row in rows] == [USUAL, *SOME_SAMPLERS, *SAMPLERS, *SOME_SAMPLERS]
    assert {(row.engine, row.precision) for row in rows} == {("eager", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")}
    assert sum(row.memory_mb for row in rows if row.engine == "openvino") > 0
    for row in rows:
        assert row.plans == (
            50 if row.name in ("ddpm", "auto") and (row.engine, row.precision) == ("openvino", "fp32") else 2
        )
        assert 0 < row.p50_ms <= row.p95_ms <= row.p99_ms and 0 < row.network_share <= 1 and row.batch == 2
        assert (row.error_median is not None) == (row.law == "tolerance")
        if row.name in ("usual", "ddpm"):
            assert row.rounds == row.evaluations == 100 and row.law == "exact"
        if row.name.startswith("ddim-"):
            assert row.evaluations == int(row.name.removeprefix("ddim-")) and row.law == "other"
        if row.name == "auto":
            assert row.law == "exact" and row.sampler in (*planner.EXACT, "ddpm")
        if row.name == PUBLISHED:
            assert row.law == "tolerance" and row.error_median < 0.05


def test_the_floor_is_that_of_the_network(policy):
    floor = measure_floor(policy, "cpu")
    assert min(floor.bandwidth, floor.cache, floor.flops, *floor.peak.values()) > 0
    assert floor.parameters == sum(p.numel() for p in policy.network.parameters())
    cached, uncached = (replace(floor, cache=size, flops=0.0) for size in (1e12, 0.0))
    assert uncached.plan_ms(7, 100, "fp32") == pytest.approx(7 * cached.plan_ms(7, 100, "fp32"))
    assert uncached.plan_ms(7, 100, "bf16") == pytest.approx(uncached.plan_ms(7, 100, "fp32") / 2)
    busy = replace(floor, bandwidth=1e30)
    assert busy.plan_ms(7, 100, "bf16") == pytest.approx(1e5 * floor.flops / floor.peak["bf16"])


def test_the_usual_loop_samples_from_what_the_policy_was_trained_for(policy):
    """With the noise that its scheduler draws, the usual loop gives the samples of the sequential solver."""
    table, engine = policy.solver.table, PlainNetwork(policy.network)
    condition = torch.randn(1, policy.spec.condition_size)
    noise = NoisePath.draw([torch.Generator().manual_seed(0)], table.steps, (16, 2))
    torch.manual_seed(3)
    drawn = torch.stack([torch.randn(1, 16, 2) for _ in range(table.steps - 1)], 1)
    known = NoisePath(noise.initial, torch.cat([drawn, torch.zeros(1, 1, 16, 2)], 1), noise.uniforms)
    torch.manual_seed(3)
    usual = UsualLoop(policy.spec.schedule, table).solve(engine, condition, noise)
    expected = policy.solver.solve(engine, condition, known)
    assert (usual.sample - expected.sample).abs().max() < 1e-4
    assert usual.stats.rounds.tolist() == [100]


@pytest.mark.parametrize("tolerance", [0.0, 0.1])
def test_the_published_loop_is_ours_for_one_environment(policy, tolerance):
    table, engine = policy.solver.table, EagerEngine(policy.network, policy.spec, torch.device("cpu"))
    for seed in range(3):
        condition = engine.encode(torch.randn(1, policy.spec.condition_size, generator=torch.Generator().manual_seed(seed)))
        noise = NoisePath.draw([torch.Generator().manual_seed(seed)], table.steps, (16, 2))
        ours = Picard(table, 20, tolerance).solve(engine, condition, noise)
        published = PublishedParaDDPM(table, 20, tolerance).solve(engine, condition, noise)
        assert (ours.sample - published.sample).abs().max() < 1e-4
        assert abs(int(ours.stats.rounds) - int(published.stats.rounds)) <= 1


def test_the_published_loop_waits_for_the_slowest(policy):
    table, engine = policy.solver.table, EagerEngine(policy.network, policy.spec, torch.device("cpu"))
    condition = engine.encode(torch.randn(6, policy.spec.condition_size))
    noise = NoisePath.draw([torch.Generator().manual_seed(i) for i in range(6)], table.steps, (16, 2))
    ours, published = Picard(table).solve(engine, condition, noise), PublishedParaDDPM(table).solve(engine, condition, noise)
    assert published.stats.rounds.unique().numel() == 1
    assert published.stats.rounds[0] >= ours.stats.rounds.max() - 1
    assert (published.sample - Sequential(table).solve(engine, condition, noise).sample).abs().max() < 0.1
