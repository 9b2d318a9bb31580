"""What a call of the network takes on a GPU: by number of rows, with kernels that overlap and with kernels that do not."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median

import torch
from torch import Tensor

from paradp.checkpoints import load_policy
from paradp.policy import DiffusionPolicy, Precision
from paradp.policy.engines.fused import Denoise
from paradp.policy.engines.fused.packing import pack
from paradp.policy.engines.fused.tiles import tile
from paradp.policy.engines.pytorch import lacking, tabulate
from paradp.policy.engines.timing import timed
from paradp.policy.files import write_whole
from paradp.policy.networks.widening import widened
from paradp.sampler.rounds.device import capture
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.registry import study

# How many times its channels a network has, and in what it computes.
CASES: tuple[tuple[int, Precision], ...] = ((4, "bf16"), (1, "bf16"), (8, "bf16"), (4, "fp32"))
ROWS = (1, 20, 50)
# An error is the largest of so many inputs, a time the median of so many, each of so many calls one after another.
INPUTS, TIMES, REPLAYS = 10, 7, 20
_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Call:
    """Calls of one network with one number of rows.

    Attributes:
        widen: how many times its channels the network has.
        precision: of the products.
        overlapped: whether a kernel may begin before the one before it has ended.
        rows: how many.
        ms: of a captured call.
        error: ‖out − PyTorch's in fp32‖ ÷ ‖PyTorch's in fp32‖.
    """

    widen: int
    precision: Precision
    overlapped: bool
    rows: int
    ms: float
    error: float


@study
def study_calls(context: Context) -> None:
    """Writes OUT/gpu/calls.json, which `paradp study gpu` shows.

    Raises:
        ValueError: there is no GPU, or it lacks what the kernels need.
    """
    if missing := lacking(torch.device("cuda" if torch.cuda.is_available() else "cpu")):
        raise ValueError(f"calls cannot be measured here: {missing}")
    torch.backends.cudnn.allow_tf32 = False  # in what they are compared with
    policy = load_policy(context.task, "ddpm", "cuda", engine="eager")
    calls = [asdict(call) for widen, precision in CASES for call in measure(policy, widen, precision)]
    folder = context.out / "gpu"
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "calls.json", (json.dumps(calls, indent=1) + "\n").encode())


@torch.no_grad()
def measure(policy: DiffusionPolicy, widen: int, precision: Precision) -> Iterator[Call]:
    """Of a policy's network with more channels, without and with overlap."""
    from paradp.policy.engines.fused.tiled import TiledUnet  # only where Triton is installed

    network, spec = widened(policy.network, policy.spec, widen)
    layers = pack(network, partial(tile, _TYPES[precision]))
    encoded = tabulate(network, spec, policy.device)
    for overlapped in (False, True):
        unet = TiledUnet(layers, _TYPES[precision], overlapped)
        for rows in ROWS:
            x = torch.empty(rows, spec.horizons.predict, spec.action_size, device=policy.device)
            t = encoded[torch.arange(rows, device=policy.device) % len(encoded)]
            condition = network.encode_condition(torch.randn(rows, spec.condition_size, device=policy.device))
            ms, error = _measured(unet, network.denoise, x, t, condition)
            yield Call(widen, precision, overlapped, rows, ms, error)


def _measured(compute: Denoise, expect: Denoise, x: Tensor, t: Tensor, condition: Tensor) -> tuple[float, float]:
    """Milliseconds of a captured call, and its error."""
    found = torch.empty_like(x)
    replay = capture(lambda: _into(found, compute(x, t, condition)), x.device)
    errors = []
    for _ in range(INPUTS):
        x.normal_()
        found.fill_(torch.nan)  # what is not written shows
        replay()
        expected = expect(x, t, condition)
        errors.append(float((found - expected).norm() / expected.norm()))
    seconds = median(timed(lambda: [replay() for _ in range(REPLAYS)], x.device) for _ in range(TIMES))
    return 1000 * seconds / REPLAYS, max(errors)


def _into(target: Tensor, result: Tensor) -> None:
    target.copy_(result)
