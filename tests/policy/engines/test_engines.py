"""Engines compute their network, for any number of rows."""

import copy
import hashlib
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from paradp.policy import TransformerConfig, build_engine
from paradp.policy.engines import building, openvino_models, pytorch
from paradp.policy.engines.openvino_models import converted
from paradp.policy.engines.pytorch import CudaGraphEngine, EagerEngine
from paradp.policy.learning.training import spec_for
from paradp.policy.networks.building import build_network
from paradp.sampler import NoisePath, Sequential, Speculative, step_table

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
CPU = torch.device("cpu")


def draw(spec, rows):
    torch.manual_seed(1)
    x = torch.randn(rows, spec.horizons.predict, spec.action_size)
    return x, torch.randint(0, 100, (rows,)), torch.randn(rows, spec.condition_size)


def predict(engine, x, t, condition):
    with torch.no_grad():
        return engine(x, t, engine.encode(condition))


@pytest.fixture(params=["unet", "transformer"])
def network(request, trained, info):
    if request.param == "unet":
        return trained.network, trained.spec
    torch.manual_seed(0)
    spec = spec_for(info, TransformerConfig(layers=2, heads=2, embedding=16))
    return build_network(spec).eval(), spec


@pytest.mark.parametrize("name", ["eager", "openvino"])
@pytest.mark.parametrize("rows", [1, 7, 24, 25, 64, 150])
def test_every_engine_computes_the_network(network, name, rows):
    module, spec = network
    engine = build_engine(module, spec, CPU, name)
    x, t, condition = draw(spec, rows)
    with torch.no_grad():
        expected = module(x, t, condition)
    assert engine.name == name
    assert (predict(engine, x, t, condition) - expected).abs().max() < 1e-5 * expected.abs().max().clamp(min=1)


@pytest.mark.parametrize("name", ["eager", "openvino"])
def test_half_precision_is_close_and_is_reported(trained, name):
    engine = build_engine(trained.network, trained.spec, CPU, name, "bf16")
    assert engine.precision == "bf16"
    draws = draw(trained.spec, 8)
    difference = (predict(engine, *draws) - trained.network(*draws)).abs().max()
    assert 0 < difference < 0.1
    assert all(p.dtype == torch.float32 for p in trained.network.parameters())


@pytest.mark.slow
def test_the_compiled_engine_computes_the_network(trained):
    engine = build_engine(trained.network, trained.spec, CPU, "compiled")
    engine.prepare(range(1, 30))
    for rows in (1, 2, 29):
        draws = draw(trained.spec, rows)
        assert torch.allclose(predict(engine, *draws), trained.network(*draws), atol=1e-5)


def test_the_error_of_the_compiled_engine_without_a_compiler_names_what_it_needs(trained, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ValueError, match=r"on cpu the compiled engine needs a C\+\+ compiler: g\+\+"):
        build_engine(trained.network, trained.spec, CPU, "compiled")


def test_threads_that_share_an_engine_do_not_mix_their_rows(trained):
    engine = build_engine(trained.network, trained.spec, CPU, "openvino")
    table = step_table(trained.spec.schedule)
    draws = {seed: (NoisePath.draw([torch.Generator().manual_seed(seed)], 100, (16, 2)), seed) for seed in range(4)}

    def solve(seed):
        condition = torch.full((1, trained.spec.condition_size), float(seed))
        return Speculative(table, 5).solve(engine, engine.encode(condition), draws[seed][0]).sample

    alone = [solve(seed) for seed in draws]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(solve, [*draws] * 3))
    assert all(torch.equal(one, alone[i % 4]) for i, one in enumerate(together))


def test_captured_rounds_give_the_same_samples_as_uncaptured_ones(trained, monkeypatch):
    """The rounds that a GPU captures, executed by Python: whole windows, on reused buffers."""
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    engine = CudaGraphEngine(trained.network, trained.spec, CPU)
    eager = EagerEngine(trained.network, trained.spec, CPU)
    table = step_table(trained.spec.schedule)
    for seed in (0, 10):
        noise = NoisePath.draw([torch.Generator().manual_seed(seed + i) for i in range(3)], table.steps, (16, 2))
        condition = draw(trained.spec, 3)[2] + seed
        for solver in (Sequential(table), Speculative(table, 8)):
            samples = [solver.solve(e, e.encode(condition), noise).sample for e in (engine, eager)]
            assert (samples[0] - samples[1]).abs().max() < 1e-4


def test_each_number_of_rows_is_compiled_once(trained):
    engine = build_engine(trained.network, trained.spec, CPU, "openvino")
    engine.prepare(range(1, 25))
    compiled = set(engine._sizes.compiled)
    assert max(compiled) == 24 and len(compiled) <= 4
    for rows in range(1, 25):
        draws = draw(trained.spec, rows)
        assert torch.allclose(predict(engine, *draws), trained.network(*draws), atol=1e-5)
    assert set(engine._sizes.compiled) == compiled
    engine.prepare([1])
    assert set(engine._sizes.compiled) == {1}


def test_solvers_give_the_same_samples_on_every_engine(trained):
    table = step_table(trained.spec.schedule)
    noise = NoisePath.draw([torch.Generator().manual_seed(i) for i in range(3)], table.steps, (16, 2))
    condition = draw(trained.spec, 3)[2]
    eager, compiled = (build_engine(trained.network, trained.spec, CPU, name) for name in ("eager", "openvino"))
    for solver in (Sequential(table), Speculative(table)):
        samples = [solver.solve(e, e.encode(condition), noise).sample for e in (eager, compiled)]
        assert (samples[0] - samples[1]).abs().max() < 1e-4


def test_auto_takes_openvino_on_a_cpu_and_eager_without_it(trained, monkeypatch):
    assert build_engine(trained.network, trained.spec, CPU).name == "openvino"
    monkeypatch.setattr(building, "find_spec", lambda name: None)
    assert build_engine(trained.network, trained.spec, CPU).name == "eager"
    with pytest.raises(ValueError, match=r"needs the package openvino: in a clone of paradp, pip install"):
        build_engine(trained.network, trained.spec, CPU, "openvino")


@pytest.mark.parametrize(
    ("name", "precision", "device", "message"),
    [
        ("openvin", "fp32", "cpu", "did you mean 'openvino'"),
        ("eager", "fp8", "cpu", "unknown precision 'fp8'"),
        ("openvino", "fp32", "cuda", "computes on the cpu, not on cuda"),
        ("cuda-graph", "fp32", "cpu", "computes on cuda, not on cpu"),
    ],
)
def test_an_error_names_what_an_engine_does_not_support(trained, name, precision, device, message):
    with pytest.raises(ValueError, match=message):
        build_engine(trained.network, trained.spec, torch.device(device), name, precision)


def test_an_engine_with_wrong_predictions_is_refused(trained, monkeypatch):
    other = build_network(trained.spec).eval()
    monkeypatch.setattr(building, "EagerEngine", lambda network, spec, device: EagerEngine(other, spec, device))
    with pytest.raises(ValueError, match="predictions differ from PyTorch's"):
        build_engine(trained.network, trained.spec, CPU, "openvino")


@pytest.mark.parametrize("suffix", [".xml", ".bin", ".sha256"])
@pytest.mark.parametrize(
    "damage",
    [lambda whole: b"", lambda whole: b"\xff" * 64, lambda whole: whole[:50], lambda whole: whole[:-9] + b"123456789"],
)
def test_a_damaged_cache_is_rebuilt(trained, tmp_path, monkeypatch, suffix, damage):
    monkeypatch.setenv("PARADP_CACHE", str(tmp_path))
    build_engine(trained.network, trained.spec, CPU, "openvino")
    (path,) = tmp_path.glob(f"*{suffix}")
    path.write_bytes(damage(path.read_bytes()))
    engine = build_engine(trained.network, trained.spec, CPU, "openvino")
    draws = draw(trained.spec, 2)
    assert torch.allclose(predict(engine, *draws), trained.network(*draws), atol=1e-5)
    files = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    assert hashlib.sha256(files[2] + files[0]).hexdigest().encode() == files[1]


def test_the_cache_keeps_the_models_that_were_used_last(trained, tmp_path, monkeypatch):
    """A training that tries its policy now and then does not fill the disk."""
    monkeypatch.setenv("PARADP_CACHE", str(tmp_path))
    names = []
    for offset in range(3):
        network = copy.deepcopy(trained.network)
        next(network.parameters()).data += 1e-4 * offset
        build_engine(network, trained.spec, CPU, "openvino")
        [new] = {path.stem for path in tmp_path.glob("*.bin")} - {*names}
        names.append(new)
        os.utime(tmp_path / f"{new}.bin", (offset, offset))
        monkeypatch.setattr(openvino_models, "MOST_CACHED", int(2.5 * (tmp_path / f"{new}.bin").stat().st_size))
        if offset == 1:
            build_engine(trained.network, trained.spec, CPU, "openvino")  # uses the first model again
    assert {path.stem for path in tmp_path.glob("*.*")} == {names[0], names[2]} and len([*tmp_path.iterdir()]) == 6


def test_a_cache_that_cannot_be_written_is_ignored(trained, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PARADP_CACHE", str(tmp_path / "file"))
    assert build_engine(trained.network, trained.spec, CPU, "openvino").name == "openvino"


def test_a_warning_reports_bf16_that_is_slower_than_fp32(trained, caplog):
    class Slow(EagerEngine):
        def __call__(self, x, t, condition):
            time.sleep(0.05)
            return super().__call__(x, t, condition)

    eager = EagerEngine(trained.network, trained.spec, CPU)
    building.warn_if_slower(Slow(trained.network, trained.spec, CPU, "bf16"), eager, trained.spec)
    (warning,) = caplog.messages
    assert "times as long as fp32 on the eager engine" in warning
    caplog.clear()
    building.warn_if_slower(eager, Slow(trained.network, trained.spec, CPU), trained.spec)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("lacks", "capability", "said"),
    [("the package triton", (9, 0), "triton"), ("a C compiler", (9, 0), "need a C compiler"), (None, (7, 5), "older"),
     (None, (9, 0), None)],
)  # fmt: skip
def test_an_error_names_what_a_gpu_lacks_for_the_kernels(monkeypatch, lacks, capability, said):
    monkeypatch.setattr(pytorch.launching, "lacking", lambda: lacks)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A card")
    missing = pytorch.lacking(torch.device("cuda"))
    assert missing is None if said is None else said in missing


class Unsupported(torch.nn.Module):
    """An operation that OpenVINO does not have."""

    def forward(self, x):
        return x.mT


def test_an_operation_that_openvino_does_not_support_is_named():
    with pytest.raises(
        ValueError, match=r"^OpenVINO cannot convert the network: .*aten::mT; use another engine, such as eager$"
    ):
        converted(Unsupported(), (torch.zeros(1, 2, 3),))


def test_a_failed_conversion_does_not_silence_warnings():
    root = logging.getLogger()
    before = root.level, list(root.filters), list(root.handlers)
    with pytest.raises(ValueError, match="cannot convert"):
        converted(Unsupported(), (torch.zeros(1, 2, 3),))
    assert (root.level, root.filters, root.handlers) == before
