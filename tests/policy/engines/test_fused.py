"""The U-Net in other kernels computes what PyTorch's modules compute.

Triton's kernels run on the GPU where there is one; else `TRITON_INTERPRET=1 pytest tests/policy/engines/test_fused.py` runs
them in Triton's interpreter.
"""

import os

import pytest
import torch

from paradp.policy.engines.building import build_engine, check_agreement
from paradp.policy.engines.fused.matmul import MatmulUnet
from paradp.policy.engines.pytorch import CudaGraphEngine, EagerEngine
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


def difference(found, expected):
    assert found.shape == expected.shape and found.dtype == torch.float32
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", [*SHAPES, ((64, 128, 256), 5, 16, 10, 3)])
def test_matrix_products_are_the_convolutions(shape, dtype):
    network, inputs = draw(*shape, device=torch.device("cpu"))
    assert difference(MatmulUnet(network, dtype)(*inputs), network.denoise(*inputs)) < TOLERANCE[dtype]


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
    assert difference(tiled.TiledUnet(network, dtype)(*inputs), network.denoise(*inputs)) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_products_in_parts_are_the_convolutions(tiled, dtype, monkeypatch):
    """As those of wide layers are, which an interpreter takes minutes for."""
    monkeypatch.setattr(tiled, "LEAST_BLOCKS", 1)
    monkeypatch.setattr(tiled, "MOST_BLOCKS_AT_ONCE", 1)
    network, inputs = draw((48, 96), 5, 8, 10, 2)
    unet = tiled.TiledUnet(network, dtype)
    assert all(block.first.convolution.splits(rows=8) > 1 for block in unet._layers.middle.blocks)
    assert difference(unet(*inputs), network.denoise(*inputs)) < TOLERANCE[dtype]


def test_a_chunk_that_is_not_finite_spoils_no_other(tiled):
    """Channels beyond the last are the next row's."""
    network, (x, timestep, condition) = draw((24,), 3, 8, 10, 3)
    alone = tiled.TiledUnet(network, torch.float32)(x, timestep, condition)
    x[1] = torch.nan
    beside = tiled.TiledUnet(network, torch.float32)(x, timestep, condition)
    assert beside[1].isnan().all() and torch.equal(beside[[0, 2]], alone[[0, 2]])


def test_a_product_is_split_until_all_multiprocessors_read(tiled):
    def wide(columns, channels, *taps):
        nothing = torch.empty(0, dtype=torch.bfloat16)
        return tiled.Tiled(nothing, nothing, channels, columns, 1, taps, (0,) * len(taps), 1, block_n=64, block_k=64)

    assert wide(1024, 1024, 5).splits(rows=80) == 8  # 16 tiles of 80 blocks
    assert wide(1024, 1024, 5).splits(rows=2560) == 1
    assert wide(512, 2048, 5, 1).splits(rows=80) == 13  # 8 tiles of 160 blocks, and 8 of 32
    assert wide(64, 64, 5).splits(rows=16) == 1  # a tile of 5 blocks
    assert wide(64, 4096, 5).splits(rows=16) == tiled.MOST_SPLITS


def test_rows_of_a_tile_are_many_where_each_weight_is_then_read_once_or_tiles_abound(tiled):
    def block(columns, rows):
        nothing = torch.empty(0, dtype=torch.bfloat16)
        return tiled.Tiled(nothing, nothing, 64, columns, 1, (5,), (2,), 1, block_n=64, block_k=64).block_m(rows)

    assert [block(1024, rows) for rows in (4, 16, 20, 80, 160, 2560)] == [16, 16, 32, 128, 64, 128]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kernels", ["triton", "overlapped"])
def test_an_engine_of_tiles_agrees_with_the_network(tiled, trained, kernels, precision):
    network = trained.network.to(DEVICE)
    engine = CudaGraphEngine(network, trained.spec, DEVICE, precision, kernels=kernels)
    check_agreement(engine, EagerEngine(network, trained.spec, DEVICE), trained.spec, DEVICE, rows=2)


on_gpu = pytest.mark.skipif(DEVICE.type != "cuda", reason="needs a GPU")


@on_gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_on_a_gpu_the_engine_computes_a_unet_by_tiles(tiled, trained, precision):
    engine = build_engine(trained.network.to(DEVICE), trained.spec, DEVICE, precision=precision)  # checks the agreement
    assert engine.name == "cuda-graph" and isinstance(engine._denoise, tiled.TiledUnet)


@on_gpu
@pytest.mark.parametrize(
    ("kernels", "dtype", "rows"),
    [
        ("triton", torch.bfloat16, 20),
        ("triton", torch.float32, 20),
        ("overlapped", torch.bfloat16, 1),
        ("overlapped", torch.bfloat16, 20),
        ("overlapped", torch.bfloat16, 100),
        ("matmul", torch.bfloat16, 20),
    ],
)
def test_a_captured_call_computes_new_inputs(kernels, dtype, rows):
    from paradp.policy.engines.fused import fused_unet

    network, inputs = draw((256, 512, 1024), 5, 16, 10, rows)
    torch.backends.cudnn.allow_tf32 = False
    fused = fused_unet(network, dtype, kernels)
    side, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            fused(*inputs)
    torch.cuda.current_stream().wait_stream(side)
    with torch.cuda.graph(graph):
        out = fused(*inputs)
    for _ in range(20):  # kernels that do not wait for each other would differ now and then
        for tensor in inputs:
            tensor.normal_()
        out.fill_(torch.nan)
        graph.replay()
        assert difference(out, network.denoise(*inputs)) < TOLERANCE[dtype]
