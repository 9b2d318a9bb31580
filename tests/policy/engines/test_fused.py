"""The U-Net with Triton kernels computes the same as with PyTorch's modules.

The kernels run on the GPU where there is one; else `TRITON_INTERPRET=1 pytest tests/policy/engines/test_fused.py` runs
them in Triton's interpreter.
"""

import os
import sys
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from paradp.policy.engines import pytorch
from paradp.policy.engines.building import build_engine, check_agreement
from paradp.policy.engines.fused import fused_unet, overlapping_pays, tiles
from paradp.policy.engines.pytorch import CudaGraphEngine, EagerEngine
from paradp.policy.engines.unet_layers import pack
from paradp.policy.networks.unet import ConditionalUnet1D, UnetConfig

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# Of the largest prediction: rounding through some thirty layers.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.03}
# Channels, kernel, horizon, action size, rows.
SHAPES = [
    ((24, 48), 5, 16, 10, 3),  # groups of 3 and 6 channels
    ((8,), 3, 8, 2, 1),
    ((8, 16), 3, 8, 7, 20),
    ((64, 32), 3, 8, 10, 2),  # a block after a skip connection that has no residual of its own
    ((16, 24, 40), 3, 16, 16, 1),  # and one as wide as the actions
]


def draw(channels, kernel, horizon, actions, rows, device=DEVICE):
    """A network with all biases set, and what `denoise` takes."""
    torch.manual_seed(0)
    network = ConditionalUnet1D(actions, 7, UnetConfig(channels=channels, kernel_size=kernel, timestep_embedding=16))
    for parameter in network.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, std=0.5)
    network = network.eval().to(device).requires_grad_(False)
    x, t = torch.randn(rows, horizon, actions, device=device), torch.randint(0, 100, (rows,), device=device)
    return network, (x, network.encode_timestep(t), network.encode_condition(torch.randn(rows, 7, device=device)))


@pytest.fixture(autouse=True)
def without_tf32():
    """Disables TF32: PyTorch's convolutions on a GPU, the reference, keep only ten bits by default."""
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    yield
    torch.backends.cudnn.allow_tf32 = before


def unet_of(tiled, network, dtype, **options):
    return tiled.TiledUnet(pack(network, partial(tiles.tile, dtype)), dtype, **options)


def difference(found, expected):
    assert found.shape == expected.shape and found.dtype == torch.float32
    return float((found - expected).abs().max() / expected.abs().max())


def convolved(convolution, x):
    """By the equation in `unet_layers`: `[n, h, C]`, with two sections' steps or channels side by side."""
    steps = torch.arange(-(-x.shape[1] // convolution.stride))
    sections = []
    for section in convolution.sections:
        at = steps[:, None] * convolution.stride + torch.arange(len(section.weight)) - section.padding
        inside = (at >= 0) & (at < x.shape[1])
        windows = x[:, at.clamp(0, x.shape[1] - 1)] * inside[:, :, None]
        sections.append(torch.einsum("nhtc,tcd->nhd", windows, section.weight) + section.bias)
    return sections


def test_packed_convolutions_are_those_of_the_network():
    """All of them, and each in its place."""
    network, _ = draw((16, 24, 40), 3, 16, 16, 1, device=torch.device("cpu"))
    layers = pack(network, lambda convolution: convolution)
    stages, levels = [*network.down, network.middle, *network.up], [*layers.down, layers.middle, *layers.up]
    pairs = [(network.head[0][0], layers.head.convolution), (network.head[1], layers.projection)]
    film = 0
    for stage, level in zip(stages, levels, strict=True):
        for module, block in zip((stage.first, stage.second), level.blocks, strict=True):
            pairs += [(module.first[0], block.first.convolution), (module.second[0], block.second.convolution)]
            if len(block.first.convolution.sections) == 2:
                pairs.append((module.residual, block.first.convolution))
            else:
                assert isinstance(module.residual, torch.nn.Identity)
            assert block.film == film and torch.equal(block.second.norm.weight, module.second[1].weight)
            film += 2 * module.size
        if level.resample is None:
            assert isinstance(stage.resample, torch.nn.Identity)
        else:
            pairs.append((stage.resample, level.resample))
    assert len(pairs) > 30
    for module, convolution in pairs:
        x = torch.randn(2, 8, module.in_channels)
        sections = convolved(convolution, x)
        if isinstance(module, torch.nn.ConvTranspose1d):
            found = torch.stack(sections, dim=2).flatten(1, 2)
        else:
            found = sections[module.kernel_size == (1,) and len(sections) == 2]
        torch.testing.assert_close(found, module(x.transpose(1, 2)).transpose(1, 2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("millions", "rows", "pays"),
    [(4.6, 50, True), (64, 1, True), (64, 100, True), (64, 960, False), (249, 100, True), (249, 240, False)],
)
def test_kernels_overlap_where_that_was_measured_to_pay(millions, rows, pays):
    assert overlapping_pays(rows, int(millions * 1e6), torch.bfloat16) is pays
    assert not overlapping_pays(rows, int(millions * 1e6), torch.float32)


def test_each_call_overlaps_by_its_own_number_of_rows(monkeypatch):
    class Recorder:
        def __init__(self, layers, dtype, overlapped):
            self.overlapped = overlapped

        def __call__(self, x, timestep, condition):
            return self.overlapped

    monkeypatch.setitem(sys.modules, "paradp.policy.engines.fused.tiled", SimpleNamespace(TiledUnet=Recorder))
    network, (x, timestep, condition) = draw((8,), 3, 8, 2, 1, device=torch.device("cpu"))
    monkeypatch.setattr("paradp.policy.engines.fused.MOST_OVERLAPPED", 2.5 * sum(p.numel() for p in network.parameters()))
    for dtype, expected in ((torch.bfloat16, [True, False, True]), (torch.float32, [False] * 3)):
        denoise = fused_unet(network, dtype)
        assert [denoise(x.expand(rows, -1, -1), timestep, condition) for rows in (2, 3, 1)] == expected


@pytest.fixture
def tiled(monkeypatch):
    """The module of Triton's kernels."""
    pytest.importorskip("triton", reason="Triton is not installed")
    if DEVICE.type == "cpu":
        if os.environ.get("TRITON_INTERPRET") != "1":
            pytest.skip("without a GPU, Triton's kernels run with TRITON_INTERPRET=1 alone")
        mend_interpreter(monkeypatch)
    from paradp.policy.engines.fused import tiled

    return tiled


def mend_interpreter(patch):
    """Has the interpreter multiply bfloat16 by value, and count up to scalars that numpy 2.4 and later do not convert."""
    import numpy as np
    from triton.runtime import interpreter

    def value(handle):
        if handle.dtype.scalar != interpreter.tl.bfloat16:
            return handle.data
        return (handle.data.astype(np.uint32) << 16).view(np.float32)

    def create_dot(self, a, b, d, input_precision, max_num_imprecise_acc):
        return interpreter.TensorHandle(value(a) @ value(b) + d.data, d.dtype.scalar)

    def patch_tensor(tensor, scope, original=interpreter._patch_lang_tensor):
        original(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    patch.setattr(interpreter.InterpreterBuilder, "create_dot", create_dot)
    patch.setattr(interpreter, "_patch_lang_tensor", patch_tensor)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", SHAPES)
def test_tiles_are_the_convolutions(tiled, shape, dtype):
    network, inputs = draw(*shape)
    assert difference(unet_of(tiled, network, dtype)(*inputs), network.denoise(*inputs)) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_products_in_parts_are_the_convolutions(tiled, dtype, monkeypatch):
    """As for wide layers, which would take minutes in the interpreter."""
    monkeypatch.setattr(tiles, "LEAST_BLOCKS", 1)
    monkeypatch.setattr(tiled, "MOST_BLOCKS_AT_ONCE", 1)
    network, inputs = draw((48, 96), 5, 8, 10, 2)
    unet = unet_of(tiled, network, dtype)
    assert all(block.first.convolution.splits(rows=8) > 1 for block in unet._layers.middle.blocks)
    assert difference(unet(*inputs), network.denoise(*inputs)) < TOLERANCE[dtype]


def test_a_chunk_that_is_not_finite_affects_no_other(tiled):
    """Channels beyond the last are the next row's."""
    network, (x, timestep, condition) = draw((24,), 3, 8, 10, 3)
    unet = unet_of(tiled, network, torch.float32)
    alone = unet(x, timestep, condition)
    x[1] = torch.nan
    beside = unet(x, timestep, condition)
    assert beside[1].isnan().all() and torch.equal(beside[[0, 2]], alone[[0, 2]])


def test_a_product_is_split_until_all_multiprocessors_read():
    def wide(columns, channels, *taps):
        nothing = torch.empty(0, dtype=torch.bfloat16)
        return tiles.Tiled(nothing, nothing, channels, columns, 1, taps, (0,) * len(taps), 1, block_n=64, block_k=64)

    assert wide(1024, 1024, 5).splits(rows=80) == 8  # 16 tiles of 80 blocks
    assert wide(1024, 1024, 5).splits(rows=2560) == 1
    assert wide(512, 2048, 5, 1).splits(rows=80) == 13  # 8 tiles of 160 blocks, and 8 of 32
    assert wide(64, 64, 5).splits(rows=16) == 1  # a tile of 5 blocks
    assert wide(64, 4096, 5).splits(rows=16) == tiles.MOST_SPLITS


def test_tiles_have_many_rows_where_there_are_enough_of_them():
    def block(columns, rows):
        nothing = torch.empty(0, dtype=torch.bfloat16)
        return tiles.Tiled(nothing, nothing, 64, columns, 1, (5,), (2,), 1, block_n=64, block_k=64).block_m(rows)

    assert [block(1024, rows) for rows in (4, 16, 20, 80, 160, 2560)] == [16, 16, 32, 64, 64, 128]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_engine_of_tiles_agrees_with_the_network(tiled, trained, precision, monkeypatch):
    monkeypatch.setattr(pytorch, "lacking", lambda device: None)
    built = []
    monkeypatch.setattr(pytorch, "fused_unet", lambda *arguments: built.append(fused_unet(*arguments)) or built[0])
    network = trained.network.to(DEVICE)
    engine = CudaGraphEngine(network, trained.spec, DEVICE, precision)
    assert built == [engine._denoise]
    check_agreement(engine, EagerEngine(network, trained.spec, DEVICE), trained.spec, DEVICE, rows=2)


def test_calls_are_measured_with_and_without_overlap(tiled, trained, monkeypatch):
    from paradp.scripts.studies import calls

    for name, value in {"ROWS": (1, 3), "INPUTS": 2, "TIMES": 1, "REPLAYS": 1}.items():
        monkeypatch.setattr(calls, name, value)
    policy = SimpleNamespace(network=trained.network.to(DEVICE), spec=trained.spec, device=DEVICE)
    measured = list(calls.measure(policy, 2, "fp32"))
    assert [(call.overlapped, call.rows) for call in measured] == [(False, 1), (False, 3), (True, 1), (True, 3)]
    assert all(call.ms > 0 and call.error < TOLERANCE[torch.float32] for call in measured)


on_gpu = pytest.mark.skipif(DEVICE.type != "cuda", reason="needs a GPU")


@on_gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_on_a_gpu_the_engine_computes_a_unet_by_tiles(tiled, trained, precision, monkeypatch):
    rows, call = [], tiled.TiledUnet.__call__
    monkeypatch.setattr(tiled.TiledUnet, "__call__", lambda self, x, *film: rows.append(len(x)) or call(self, x, *film))
    engine = build_engine(trained.network.to(DEVICE), trained.spec, DEVICE, precision=precision)  # checks the agreement
    assert engine.name == "cuda-graph" and rows


@on_gpu
@pytest.mark.parametrize(
    ("overlapped", "dtype", "rows"),
    [
        (False, torch.bfloat16, 20),
        (False, torch.float32, 20),
        (True, torch.bfloat16, 1),
        (True, torch.bfloat16, 20),
        (True, torch.bfloat16, 100),
    ],
)
def test_a_captured_call_computes_new_inputs(tiled, overlapped, dtype, rows):
    network, inputs = draw((256, 512, 1024), 5, 16, 10, rows)
    unet = unet_of(tiled, network, dtype, overlapped=overlapped)
    side, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            unet(*inputs)
    torch.cuda.current_stream().wait_stream(side)
    with torch.cuda.graph(graph):
        out = unet(*inputs)
    for _ in range(20):  # kernels that do not wait for each other would differ now and then
        for tensor in inputs:
            tensor.normal_()
        out.fill_(torch.nan)
        graph.replay()
        assert difference(out, network.denoise(*inputs)) < TOLERANCE[dtype]
