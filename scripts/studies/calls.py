"""Measures the time of a network call on a GPU by its number of rows, with and without overlapping kernels."""

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
from paradp.policy.engines.fused.tiles import tile
from paradp.policy.engines.pytorch import lacking, tabulate
from paradp.policy.engines.timing import timed
from paradp.policy.engines.unet_layers import pack
from paradp.policy.files import write_whole
from paradp.policy.networks.widening import widened
from paradp.sampler.rounds.device import capture
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.registry import study

# Factor of the network's channels, and precision.
CASES: tuple[tuple[int, Precision], ...] = ((4, "bf16"), (1, "bf16"), (8, "bf16"), (4, "fp32"))
ROWS = (1, 20, 50)
# An error is the largest over INPUTS inputs. A time is the median of TIMES measurements, each of REPLAYS calls in a row.
INPUTS, TIMES, REPLAYS = 10, 7, 20
_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Call:
    """Calls of one network with one number of rows.

    Attributes:
        widen: factor of the network's channels.
        precision: precision of the matrix products.
        overlapped: whether a kernel may start before the last one has ended.
        rows: number of rows.
        ms: time of a captured call in milliseconds.
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
        ValueError: there is no GPU, or it does not meet the requirements of the kernels.
    """
    if missing := lacking(torch.device("cuda" if torch.cuda.is_available() else "cpu")):
        raise ValueError(f"calls cannot be measured here: {missing}")
    torch.backends.cudnn.allow_tf32 = False  # for the reference, which is fp32
    policy = load_policy(context.task, "ddpm", "cuda", engine="eager")
    calls = [asdict(call) for widen, precision in CASES for call in measure(policy, widen, precision)]
    folder = context.out / "gpu"
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "calls.json", (json.dumps(calls, indent=1) + "\n").encode())


@torch.no_grad()
def measure(policy: DiffusionPolicy, widen: int, precision: Precision) -> Iterator[Call]:
    """Measures a policy's network with its channels multiplied by `widen`, without and with overlap."""
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
    """Time of a captured call in milliseconds, and its error."""
    found = torch.empty_like(x)
    replay = capture(lambda: _into(found, compute(x, t, condition)), x.device)
    errors = []
    for _ in range(INPUTS):
        x.normal_()
        found.fill_(torch.nan)  # so that elements that are not written are noticed
        replay()
        expected = expect(x, t, condition)
        errors.append(float((found - expected).norm() / expected.norm()))
    seconds = median(timed(lambda: [replay() for _ in range(REPLAYS)], x.device) for _ in range(TIMES))
    return 1000 * seconds / REPLAYS, max(errors)


def _into(target: Tensor, result: Tensor) -> None:
    target.copy_(result)
