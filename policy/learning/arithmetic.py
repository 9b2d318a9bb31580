"""Chooses the number format of a training: bf16 is twice as fast on processors with instructions for it, and forty times
slower on others."""

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from paradp.policy.learning.transfer import captured_or_launched

# Batch size of a first measurement, so small that even the slow format takes seconds at most.
FEW = 16
# Ratio of times at that batch size beyond which the full batch is not measured.
HOPELESS = 3.0
REPEATS = 3


@dataclass(frozen=True)
class Arithmetic:
    """The number format of a training.

    Attributes:
        bf16: matrix products in bfloat16 under autocast, or everything in float32; weights are float32 in both.
        why: the reason, in words.
    """

    bf16: bool
    why: str

    def __str__(self) -> str:
        return f"{'bf16' if self.bf16 else 'fp32'}: {self.why}"


# Runs forward and backward pass: whether in bf16, and the batch size.
Step = Callable[[bool, int], None]


def measure(step: Step, batch_size: int, clock: Callable[[], float] = time.perf_counter) -> Arithmetic:
    """Chooses the faster format. Times a few steps of each in turns, so that a slow period of the machine affects both."""
    few = min(batch_size, FEW)
    seconds = _seconds(step, few, clock)
    if few < batch_size and seconds[True] < HOPELESS * seconds[False]:
        few, seconds = batch_size, _seconds(step, batch_size, clock)
    of = "" if few == batch_size else f" of {few} windows"
    took = f"a step{of} takes {_milliseconds(seconds[True])} in bf16 and {_milliseconds(seconds[False])} in fp32 here"
    return Arithmetic(seconds[True] < seconds[False], took)


def _milliseconds(seconds: float) -> str:
    """Formats a time in milliseconds, with decimals for the few that a GPU takes."""
    return f"{1000 * seconds:.{0 if seconds >= 0.01 else 2}f} ms"


def _seconds(step: Step, windows: int, clock: Callable[[], float]) -> dict[bool, float]:
    """Times the fastest step of each format, after a warm-up step."""
    found = {False: math.inf, True: math.inf}
    for turn in range(REPEATS + 1):
        for bf16 in found:
            began = clock()
            step(bf16, windows)
            if turn:
                found[bf16] = min(found[bf16], clock() - began)
    return found


def step_on_a_copy(network: nn.Module, loss: Callable[..., Tensor], draw: Callable[[int], tuple[Tensor, ...]]) -> Step:
    """Returns a step on a copy of a network that changes no random state, and waits for the device.

    On a GPU its first call captures it, as in training.

    Args:
        network: the network to copy.
        loss: computes the loss of a network on a batch.
        draw: draws a batch of the given size on the network's device.
    """
    trial = copy.deepcopy(network)
    device = next(trial.parameters()).device

    @cache
    def prepared(bf16: bool, windows: int) -> Callable[[], None]:
        batch = draw(windows)

        def launch() -> None:
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                value = loss(trial, *batch)
            trial.zero_grad()
            value.backward()

        return captured_or_launched(launch, device)

    def step(bf16: bool, windows: int) -> None:
        with torch.random.fork_rng(devices=[]):
            prepared(bf16, windows)()
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()  # not the whole device, because another thread may be capturing

    return step


@contextmanager
def fast_products(device: torch.device) -> Iterator[None]:
    """Within this context, a GPU computes float32 products in TF32, and searches for the fastest convolution algorithms."""
    if device.type != "cuda":
        yield
        return
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    matmul.allow_tf32 = cudnn.allow_tf32 = cudnn.benchmark = True
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before
