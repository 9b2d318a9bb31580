"""Which arithmetic to train in: bf16 is twice as fast where the processor has instructions for it, and forty times as slow
where it has not."""

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

# Windows of a first measurement, so small that even the slow arithmetic takes seconds at most.
FEW = 16
# So much slower at few windows that more of them need not be tried.
HOPELESS = 3.0
REPEATS = 3


@dataclass(frozen=True)
class Arithmetic:
    """What a training computes in.

    Attributes:
        bf16: matrix products in bfloat16 under autocast, or everything in float32; weights are float32 in both.
        why: in words.
    """

    bf16: bool
    why: str

    def __str__(self) -> str:
        return f"{'bf16' if self.bf16 else 'fp32'}: {self.why}"


# Forward and backward, in bf16 or not, of so many windows.
Step = Callable[[bool, int], None]


def measure(step: Step, batch_size: int, clock: Callable[[], float] = time.perf_counter) -> Arithmetic:
    """Takes the faster of the two, by a few steps of each in turns, so that a slow moment of the machine is everyone's."""
    few = min(batch_size, FEW)
    seconds = _seconds(step, few, clock)
    if few < batch_size and seconds[True] < HOPELESS * seconds[False]:
        few, seconds = batch_size, _seconds(step, batch_size, clock)
    of = "" if few == batch_size else f" of {few} windows"
    took = f"a step{of} takes {_milliseconds(seconds[True])} in bf16 and {_milliseconds(seconds[False])} in fp32 here"
    return Arithmetic(seconds[True] < seconds[False], took)


def _milliseconds(seconds: float) -> str:
    """A GPU takes one or two."""
    return f"{1000 * seconds:.{0 if seconds >= 0.01 else 2}f} ms"


def _seconds(step: Step, windows: int, clock: Callable[[], float]) -> dict[bool, float]:
    """The fastest step of each, after one that does not count."""
    found = {False: math.inf, True: math.inf}
    for turn in range(REPEATS + 1):
        for bf16 in found:
            began = clock()
            step(bf16, windows)
            if turn:
                found[bf16] = min(found[bf16], clock() - began)
    return found


def step_on_a_copy(network: nn.Module, loss: Callable[..., Tensor], draw: Callable[[int], tuple[Tensor, ...]]) -> Step:
    """A step that leaves a network, and everybody's random numbers, as they were; it ends when the device is done.

    On a GPU it is captured when it is first taken, as training's own step is.

    Args:
        network: is copied.
        loss: of a network and a batch.
        draw: a batch of so many windows, where the network is.
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
            torch.cuda.current_stream(device).synchronize()  # and not the whole device, where another thread may capture

    return step


@contextmanager
def fast_products(device: torch.device) -> Iterator[None]:
    """Lets a GPU compute float32 products in TF32, and try which convolutions are the fastest, until the context ends."""
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
