"""Rows spread over several devices give the same results as on one device."""

from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from late import LateDevice, LateStream

from paradp.checkpoints import load_policy, save_checkpoint
from paradp.policy import Autotuner, build_engine
from paradp.policy.devices import available, check_devices, gpus
from paradp.policy.engines.pytorch import EagerEngine
from paradp.policy.engines.spread import SpreadEngine, shares
from paradp.policy.engines.timing import time_call
from paradp.policy.inpainting import Inpainting
from paradp.policy.observations import blank
from paradp.sampler import Graphs, NoisePath, Picard, Sequential, Speculative, step_table

CPU = torch.device("cpu")
SOLVERS = {
    "sequential": Sequential,
    "picard": lambda table: Picard(table, 8),
    "speculative": lambda table: Speculative(table, 8),
}


class RowByRow:
    """Computes each row separately, so that no bit depends on other rows; counts rows."""

    name, precision = "eager", "fp32"

    def __init__(self, captured=False):
        self.graphs = Graphs() if captured else None
        self.asked: list[int] = []
        self.prepared: list[int] = []

    def encode(self, condition):
        return condition

    def prepare(self, rows):
        self.prepared = [*rows]

    def __call__(self, x, t, condition):
        self.asked.append(len(x))
        mixed = x + 0.5 * x.flip(1) + (t / 100 + condition[:, 0])[:, None, None]
        return mixed / (1 + mixed * mixed)


def spread(count, captured=False, queue=None):
    engines = [RowByRow(captured) for _ in range(count)]
    return SpreadEngine(engines, [CPU] * count, **({"queue": queue} if queue else {})), engines


def draw(spec, rows, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, spec.horizons.predict, spec.action_size, generator=generator)
    t = torch.randint(0, 100, (rows,), generator=generator)
    return x, t, torch.randn(rows, spec.condition_size, generator=generator)


def solve(solver, engine, spec, batch=3):
    noise = NoisePath.draw([torch.Generator().manual_seed(i) for i in range(batch)], solver.table.steps, (16, 2))
    return solver.solve(engine, engine.encode(draw(spec, batch)[2]), noise)


@given(st.integers(1, 200), st.integers(1, 32))
def test_rows_are_shared_as_evenly_as_possible(rows, devices):
    sizes = shares(rows, devices)
    assert sum(sizes) == rows
    assert len(sizes) == min(rows, devices)
    assert max(sizes) - min(sizes) <= 1 and sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("kind", SOLVERS)
def test_where_rows_do_not_depend_on_their_neighbours_samples_are_equal_to_the_bit(trained, kind, count, captured):
    solver = SOLVERS[kind](step_table(trained.spec.schedule, 25))
    engine, engines = spread(count, captured)
    found, expected = (solve(solver, e, trained.spec) for e in (engine, RowByRow(captured)))
    assert torch.equal(found.sample, expected.sample)
    assert torch.equal(found.stats.rounds, expected.stats.rounds)
    assert torch.equal(found.stats.residual, expected.stats.residual)
    # In every call of enough rows all devices have work, and equally much of it.
    full = [sizes for sizes in zip(*(e.asked for e in engines), strict=False) if min(sizes) > 0]
    assert full and all(max(sizes) - min(sizes) <= 1 for sizes in full)


@pytest.mark.parametrize(("name", "kind"), [*(("eager", kind) for kind in SOLVERS), ("openvino", "speculative")])
def test_samples_of_several_devices_are_those_of_one_to_rounding(trained, name, kind):
    if name == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is not installed")
    solver = SOLVERS[kind](step_table(trained.spec.schedule, 25))
    one, several = (build_engine(trained.network, trained.spec, on, name) for on in (CPU, [CPU] * 3))
    assert several.name == name and several.devices == (CPU,) * 3
    assert (solve(solver, one, trained.spec).sample - solve(solver, several, trained.spec).sample).abs().max() < 1e-4


def test_each_device_has_a_network_of_its_own_and_one_device_needs_no_spreading(trained):
    several = build_engine(trained.network, trained.spec, [CPU, CPU], "eager")
    with torch.no_grad():
        x, t, condition = draw(trained.spec, 2)
        inputs = x, t, several.encode(condition)
        expected = several(*inputs)
        for parameter in trained.network.parameters():
            parameter.add_(1.0)
        changed = several(*inputs)
    assert not torch.equal(changed[0], expected[0])
    assert torch.equal(changed[1], expected[1])
    assert isinstance(build_engine(trained.network, trained.spec, [CPU], "eager"), EagerEngine)


def test_fewer_rows_than_devices_use_fewer_devices(trained):
    engine, engines = spread(4)
    engine(*draw(trained.spec, 2))
    assert [e.asked for e in engines] == [[1], [1], [], []]
    engine.prepare(range(1, 7))
    assert [e.prepared for e in engines] == [[1, 2], [1, 2], [1], [1]]


def calls_of(trained, orders, calls=4):
    """Makes consecutive calls on inputs that a late device has not computed yet; returns whether each result is right."""
    devices = [LateDevice(order) for order in orders]
    given_devices = iter(devices)
    engine, _ = spread(len(devices), True, lambda _: next(given_devices))
    alone, right = RowByRow(), []
    inputs = draw(trained.spec, 5)
    with torch.no_grad():
        for seed in range(calls):
            fresh = draw(trained.spec, 5, seed)
            expected, read = alone(*fresh), torch.empty_like(fresh[0])
            # The caller's buffers are written again for every call, on one of two streams.
            devices[0].current = seed % 2
            callers = devices[0].callers()
            callers.wait(devices[0].streams[1 - seed % 2].record())
            callers.launch(lambda fresh=fresh: [own.copy_(new) for own, new in zip(inputs, fresh, strict=True)])
            found = engine(*inputs)
            callers.launch(lambda found=found, read=read: read.copy_(found))
            right.append((read, expected, devices[0].current))
    for _, _, stream in right:
        devices[0].read(stream)
    return [torch.equal(read, expected) for read, expected, _ in right]


@pytest.mark.parametrize("seed", [None, *range(6)])
def test_devices_may_work_as_late_and_in_any_order_that_their_streams_allow(trained, seed):
    orders = [None if seed is None else Random(10 * seed + i) for i in range(3)]
    assert all(calls_of(trained, orders))


def test_a_call_that_waits_for_no_device_is_noticed(trained, monkeypatch):
    monkeypatch.setattr(LateStream, "wait", lambda stream, event: None)
    assert not all(calls_of(trained, [None] * 3))


def test_all_devices_have_work_before_one_is_waited_for(trained):
    devices = [LateDevice() for _ in range(3)]
    given_devices = iter(devices)
    engine, engines = spread(3, False, lambda _: next(given_devices))
    engine(*draw(trained.spec, 6))
    assert not any(e.asked for e in engines)  # launched, and the host went on
    devices[0].callers().record().synchronize()
    assert [e.asked for e in engines] == [[2], [2], [2]]


def test_no_graph_holds_the_work_of_several_devices(trained):
    """Neither of rounds, nor of inpainting, nor of a timed call; each device captures its own call once."""

    class Recording(LateDevice):
        captures = 0

        def capture(self, work):
            type(self).captures += 1
            return super().capture(work)

        def go_on(self):
            """At once, as a CPU."""
            for stream in (self.own, *self.streams):
                while not stream.blocked:
                    stream.step()

    engine, _ = spread(2, True, lambda _: Recording())
    solver = Speculative(step_table(trained.spec.schedule, 25), 8)
    assert engine.graphs.queue(torch.device("cuda")) is None
    assert Inpainting(engine, solver.table).graphs.queue(torch.device("cuda")) is None
    for _ in range(2):
        solve(solver, engine, trained.spec)
    assert Recording.captures == 2
    time_call(engine, trained.spec, CPU, 5)  # prepares for these rows, 3 and 2
    assert Recording.captures == 4


def test_an_autotuner_does_not_take_one_device_s_times_for_several(trained):
    autotuners = [
        Autotuner(build_engine(trained.network, trained.spec, on, "eager"), trained.network, trained.spec, CPU)
        for on in (CPU, [CPU, CPU])
    ]
    assert autotuners[0]._path != autotuners[1]._path


THERE = available(2)


@pytest.mark.parametrize(
    ("text", "devices"),
    [
        ("cpu", ["cpu"]),
        ("cuda", ["cuda"]),
        ("cuda:1,cuda:0", ["cuda:1", "cuda:0"]),
        ("cuda,cuda:1", ["cuda:0", "cuda:1"]),
        ("cpu,cpu,cpu", ["cpu"] * 3),
    ],
)
def test_devices_are_read_in_order(text, devices):
    assert [*check_devices(text, THERE)] == devices


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cuda:7", "device 'cuda:7' is not available; there is: cpu, cuda:0, cuda:1"),
        ("cuda:0,cuda:7", "'cuda:7' in device 'cuda:0,cuda:7' is not available; there is: cpu, cuda:0, cuda:1"),
        ("cpu,cuda", "device 'cpu,cuda' mixes cpu and cuda; name devices of one kind, as in cuda:0,cuda:1"),
        ("cuda:0,cpu,abacus", "'abacus' in device 'cuda:0,cpu,abacus' is not available"),
        ("cuda:0,,cuda:1", "device 'cuda:0,,cuda:1' has an empty part"),
        ("cpu,", "device 'cpu,' has an empty part; put one comma between two devices"),
        (",", "has an empty part"),
        ("", "device '' is not available"),
        ("cuda:1,cuda:1", "names cuda:1 twice"),
        ("cuda,cuda:0", "names cuda:0 twice"),
        ("cuda:0, cuda:1", "' cuda:1' in device 'cuda:0, cuda:1' is not available"),
    ],
)
def test_a_mistake_in_devices_is_one_clear_sentence(text, message):
    with pytest.raises(ValueError) as raised:
        check_devices(text, THERE)
    assert str(raised.value).startswith(message) or message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_gpus_are_counted():
    assert [gpus(text) for text in ("cpu", "cpu,cpu", "cuda", "cuda:0,cuda:3")] == [0, 0, 1, 2]


def test_a_policy_on_several_devices_plans_as_on_one(trained, tmp_path):
    save_checkpoint(trained, tmp_path / "policy", "# A card\n")
    one, several = (load_policy(tmp_path / "policy", "ddpm", device, engine="eager") for device in ("cpu", "cpu,cpu"))
    assert several.device == CPU and several.devices == (CPU, CPU) and one.devices == (CPU,)
    histories = blank(trained.spec, 3, trained.spec.horizons.observe)
    plans = [
        policy.plan(histories, [torch.Generator().manual_seed(i) for i in range(3)]).actions for policy in (one, several)
    ]
    assert abs(plans[0] - plans[1]).max() < 1e-4
    with pytest.raises(ValueError, match=r"^'abacus' in device 'cpu,abacus' is not available; there is: cpu"):
        load_policy(tmp_path / "policy", "ddpm", "cpu,abacus")


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("name", ["eager", "cuda-graph"])
@pytest.mark.parametrize("kind", SOLVERS)
def test_two_gpus_give_the_samples_of_one(trained, name, kind):
    first, second = (torch.device("cuda", i) for i in range(2))
    trained.network.to(first)
    solver = SOLVERS[kind](step_table(trained.spec.schedule, 25))
    found = []
    for on in (first, [first, second]):
        engine = build_engine(trained.network, trained.spec, on, name)
        generators = [torch.Generator().manual_seed(i) for i in range(3)]
        noise = NoisePath.draw(generators, solver.table.steps, (16, 2), first)
        condition = engine.encode(draw(trained.spec, 3)[2].to(first))
        found += [solver.solve(engine, condition, noise).sample for _ in range(2)]
    assert all((sample - found[0]).abs().max() < 1e-3 for sample in found)
