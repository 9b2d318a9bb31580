"""The benchmark measures every sampler and engine in turns, on the same observations."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from paradp.policy import DiffusionPolicy
from paradp.policy.data.normalizer import ObservationNormalizer
from paradp.policy.engines.autotune import autotuner, candidates
from paradp.policy.engines.pytorch import EagerEngine
from paradp.policy.networks.building import build_network
from paradp.policy.networks.vision.config import VisionConfig
from paradp.sampler import NoisePath, Picard, Sequential, step_table
from paradp.scripts import floor as floors
from paradp.scripts.baselines import PlainNetwork, PublishedParaDDPM, UsualLoop
from paradp.scripts.bench_page import _about_images
from paradp.scripts.contenders import PUBLISHED, USUAL
from paradp.scripts.floor import measure_floor
from paradp.scripts.planning_time import SAMPLERS, SOME_SAMPLERS, PlanningBench


@pytest.fixture
def policy(trained) -> DiffusionPolicy:
    solver = Sequential(step_table(trained.spec.schedule))
    return DiffusionPolicy(trained.spec, trained.network, trained.observation_normalizer, trained.action_normalizer, solver)


def histories(policy):
    torch.manual_seed(0)
    return {key: torch.randn(4, 2, *feature.shape).numpy() for key, feature in policy.spec.observed.items()}


def test_every_contender_is_measured_and_labelled(policy, monkeypatch):
    monkeypatch.setattr(autotuner, "TRIALS", 4)
    monkeypatch.setattr(autotuner, "MOST_ROWS", 32)
    bench = PlanningBench(policy, histories(policy), 2, ("eager", "openvino"))
    monkeypatch.setattr(bench, "_why_not_bf16", lambda: "")  # whatever this CPU is good at
    assert len(list(bench.build())) == len(bench.wanted) == 1 + 2 * len(SOME_SAMPLERS) + len(SAMPLERS)
    bench.warm_up()
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
        assert row.encode_ms is None  # nothing to encode
        assert 0 < row.p50_ms <= row.p95_ms <= row.p99_ms and 0 < row.network_share <= 1 and row.batch == 2
        assert (row.error_median is not None) == (row.law == "tolerance")
        if row.name in ("usual", "ddpm"):
            assert row.rounds == row.evaluations == 100 and row.law == "exact"
        if row.name.startswith("ddim-"):
            assert row.evaluations == int(row.name.removeprefix("ddim-")) and row.law == "other"
        if row.name == "auto":
            assert row.law == "exact" and row.sampler in (*candidates.speculative("ddpm").values(), "ddpm")
        if row.name == PUBLISHED:
            assert row.law == "tolerance" and row.error_median < 0.05


def test_the_floor_follows_from_the_network(policy):
    floor = measure_floor(policy, "cpu")
    assert min(floor.bandwidth, floor.cache, floor.flops, *floor.peak.values()) > 0
    assert floor.parameters == sum(p.numel() for p in policy.network.parameters())
    cached, uncached = (replace(floor, cache=size, flops=0.0) for size in (1e12, 0.0))
    assert uncached.plan_ms(7, 100, "fp32") == pytest.approx(7 * cached.plan_ms(7, 100, "fp32"))
    assert uncached.plan_ms(7, 100, "bf16") == pytest.approx(uncached.plan_ms(7, 100, "fp32") / 2)
    busy = replace(floor, bandwidth=1e30)
    assert busy.plan_ms(7, 100, "bf16") == pytest.approx(1e5 * floor.flops / floor.peak["bf16"])


def test_the_usual_loop_samples_from_the_policys_distribution(policy):
    """With the noise that its scheduler draws, the usual loop gives the same samples as the sequential solver."""
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
def test_the_published_loop_equals_ours_for_one_environment(policy, tolerance):
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


def test_the_peak_is_measured_with_short_products(monkeypatch):
    """On a CPU with slow products, as without bf16 instructions: the order is below 2048, and repeats are fewer than ten."""
    orders, now = [], [0.0]

    def slow(work, device):
        order = len(work.args[0])
        orders.append(order)
        now[0] += 2 * order**3 / 1e9
        return 2 * order**3 / 1e9

    monkeypatch.setattr(floors, "timed", slow)
    assert floors._peak(torch.bfloat16, torch.device("cpu")) == pytest.approx(1e9)
    assert max(orders) == 512 and now[0] < 3
    orders.clear()
    monkeypatch.setattr(floors, "timed", lambda work, device: orders.append(len(work.args[0])) or 1e-3)
    floors._peak(torch.float32, torch.device("cpu"))
    assert max(orders) == 2048


def test_cache_sizes_are_read_in_any_unit(tmp_path):
    for index, size in enumerate(("48K", "2M", "odd", "", "512")):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}/size").write_text(f"{size}\n")
    assert floors._last_cache(torch.device("cpu"), tmp_path) == 2 * 2**20
    assert floors._last_cache(torch.device("cpu"), tmp_path / "nowhere") == 0


def test_arithmetic_that_is_slow_on_this_machine_is_skipped_with_a_reason(policy, monkeypatch):
    bench = PlanningBench(policy, histories(policy), 1, ("eager",))
    bench.wanted = [wanted for wanted in bench.wanted if wanted.name in (USUAL, "ddpm")]
    times = iter([1.0, 5.0])
    monkeypatch.setattr("paradp.scripts.planning_time.time_call", lambda *_: next(times))
    assert len(list(bench.build())) == 3
    assert bench.left_out == ["eager in bf16 is left out: here it takes 5.0 times as long as in fp32"]
    assert all(contender.computes_as("eager", "fp32") for contender in bench._contenders[1:])


def test_slow_contenders_are_measured_less_often(policy):
    bench = PlanningBench(policy, histories(policy), 4, ("eager",))
    bench.wanted = [wanted for wanted in bench.wanted if wanted.precision == "fp32" and wanted.name in (USUAL, "ddim-5")]
    list(bench.build())
    bench.warm_up()
    usual, fast = bench._contenders
    bench._expected = {usual: 1.0, fast: 1e-6}
    list(bench.measure(6, least=2, seconds=3.0))
    assert (len(usual._seconds), len(fast._seconds)) == (2, 6)


def test_encoding_of_images_is_measured_separately_on_every_engine(trained):
    spec = replace(trained.spec, observation={"front": (36, 36, 3)}, vision=VisionConfig(stem=16, keypoints=2))
    torch.manual_seed(0)
    observations = ObservationNormalizer.fit({"front": torch.zeros(1, 36, 36, 3)}, spec.observed)
    solver = Sequential(step_table(spec.schedule))
    policy = DiffusionPolicy(spec, build_network(spec), observations, trained.action_normalizer, solver)
    seen = {"front": np.random.default_rng(0).integers(0, 256, (4, 2, 36, 36, 3), dtype=np.uint8)}
    bench = PlanningBench(policy, seen, 2, ("eager", "openvino"))
    bench.wanted = [wanted for wanted in bench.wanted if wanted.name in (USUAL, "ddim-10") and wanted.precision == "fp32"]
    list(bench.build())
    bench.warm_up()
    list(bench.measure(2))
    rows = bench.rows()
    assert {row.engine for row in rows} == {"eager", "openvino"} and all(0 < row.encode_ms < 1000 for row in rows)
    assert len({row.encode_ms for row in rows}) == 2
    said = _about_images(rows)
    assert said.startswith("Batch 2: before that, once a plan, encoding the images takes ") and " ms on openvino" in said
