"""Streams training examples whose images do not fit into memory: some shuffled blocks are held, the next are being read.

The steps of the data set are divided into blocks. Every pass visits the blocks in a new random order, which depends on the
training's seed. At any time HELD blocks are in memory and AHEAD others are being read; batches are drawn at random from the
windows of the held ones:

    pass 0: 4 1 7 0 5 …                step 0 … T-1:  4 1 7      T steps, in which a block's windows
            └─held──┘ └─read ahead      step T … 2T-1:  1 7 0     are drawn once on average

So the batch of a step depends on the data, the seed, the size of the memory and the step, but not on the number or the speed
of the workers. A continued training draws the same batches as an uninterrupted one.
"""

import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor

from paradp.policy.data.blocks import BlockLoader, SlotLayout
from paradp.policy.data.dataset import StreamedDataset, step_count
from paradp.policy.data.windows import Windows
from paradp.policy.errors import SettingError
from paradp.policy.files.memory import check_fits

HELD, AHEAD = 12, 4
_LEAST_ROWS = 16  # of a block
_MOST_WORKERS = 4
_VALIDATED = 256  # windows of the validation loss
MIB = 2**20


@dataclass(frozen=True)
class Streaming:
    """Settings of streaming.

    Attributes:
        memory: bytes of images that are held or being read.
        batch_size: number of windows in a batch.
        seed: seed of the order of the blocks.
        workers: number of reading processes; by default one less than the cores, at most four.
    """

    memory: int
    batch_size: int
    seed: int
    workers: int | None = None


@dataclass(frozen=True)
class _Block:
    """A block: steps whose windows are drawn together.

    Attributes:
        begin, end: the range of its images.
        first, last: the range of its windows.
    """

    begin: int
    end: int
    first: int
    last: int


class StreamedWindows:
    """The windows of episodes on disk; `Windows` has the same interface for episodes in memory.

    A batch is one array of bytes `[n, row]`, with one window in each row: its vectors, its actions, then its images. So a
    batch is sent to a GPU in one copy, and is divided among processes by rows.

    Args:
        dataset: the episodes.
        windows: rows of each window, with the vectors and the actions of all steps; without images.
        streaming: the settings.

    Raises:
        ValueError: memory does not suffice.
    """

    def __init__(self, dataset: StreamedDataset, windows: Windows, streaming: Streaming):
        self.observations, self.actions = windows.observations, windows.actions
        self._observed, self._predicted = windows.observed.numpy(), windows.predicted.numpy()
        source = dataset.images()
        self._row = _Row(dataset, windows)
        rows = _rows_a_block(source.shapes, streaming.memory, windows.observed.shape[1])
        self._blocks = _cut(self._observed, rows, step_count(dataset))
        layout = SlotLayout(dict(source.shapes), HELD + AHEAD, rows + windows.observed.shape[1] - 1)
        check_fits(layout.bytes, "the images that are held (image_memory)")
        self._loader = BlockLoader(source, layout, _workers() if streaming.workers is None else streaming.workers)
        self._seed = streaming.seed
        drawn = len(self._observed) / len(self._blocks) / streaming.batch_size
        self._steps_a_turn = max(1, round(drawn))
        self._turn, self._requested = 0, 0
        self._held: list[_Block] = []

    def __len__(self) -> int:
        return len(self._observed)

    @property
    def chunk(self) -> tuple[int, int]:
        """H and A."""
        return self._predicted.shape[1], self.actions.shape[1]

    @property
    def device(self) -> torch.device:
        """The device on which batches are drawn; whole batches are sent elsewhere."""
        return self.actions.device

    def turn_to(self, step: int) -> None:
        """Waits for the blocks of a training step, and begins to read those of the next steps."""
        turn = step // self._steps_a_turn
        if self._held and turn == self._turn:
            return
        if turn < self._turn:
            self._requested = turn
        self._turn = turn
        for place in range(max(self._requested, turn), turn + HELD + AHEAD):
            block = self._block(place)
            self._loader.request(place % (HELD + AHEAD), block.begin, block.end)
        self._requested = turn + HELD + AHEAD
        for place in range(turn, turn + HELD):
            self._loader.wait(place % (HELD + AHEAD))
        self._held = [self._block(place) for place in range(turn, turn + HELD)]

    def draw(self, size: int, generator: torch.Generator) -> Tensor:
        """Draws random windows from the held blocks, as the input of `batch`: uint8 `[size, row]`."""
        if not self._held:
            self.turn_to(0)
        ends = np.cumsum([block.last - block.first for block in self._held])
        drawn = torch.randint(int(ends[-1]), (size,), generator=generator).numpy()
        which = np.searchsorted(ends, drawn, "right")
        windows = drawn - ends[which] + np.array([block.last for block in self._held])[which]
        slots = (self._turn + which) % (HELD + AHEAD)
        inside = self._observed[windows] - np.array([block.begin for block in self._held])[which][:, None]
        images = {key: values[slots[:, None], inside] for key, values in self._loader.slots.items()}
        return self._row.packed(self._observed[windows], self._predicted[windows], images)

    def batch(self, drawn: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Returns observations, by feature `[n, To, *shape]`, and actions `[n, H, A]` of drawn rows, on their device."""
        return self._row.unpacked(drawn)

    def close(self) -> None:
        """Ends the reading processes."""
        self._loader.close()

    def _block(self, place: int) -> _Block:
        """Returns the block at an index in the order of all passes."""
        number, index = divmod(place, len(self._blocks))
        order = np.random.default_rng([self._seed, number]).permutation(len(self._blocks))
        return self._blocks[int(order[index])]


class _Row:
    """The layout of a window's bytes: vectors and actions in float32, then images."""

    def __init__(self, dataset: StreamedDataset, windows: Windows):
        observe, predict = windows.observed.shape[1], windows.predicted.shape[1]
        shapes = dataset.images().shapes
        self._vectors = {key: values.numpy() for key, values in windows.observations.items()}
        self._actions = windows.actions.numpy()
        self._order = list(dataset.info.observation)
        self._parts: dict[str, tuple[slice, torch.dtype, tuple[int, ...]]] = {}
        self._end = 0
        for key, values in self._vectors.items():
            self._add(key, torch.float32, (observe, *values.shape[1:]))
        self._add("", torch.float32, (predict, self._actions.shape[1]))  # no observation has this name
        for key, shape in shapes.items():
            self._add(key, torch.uint8, (observe, *shape))
        self.bytes = -(-self._end // 8) * 8  # so that each row's floats are where floats may be

    def packed(self, observed: np.ndarray, predicted: np.ndarray, images: Mapping[str, np.ndarray]) -> Tensor:
        """`[n, bytes]` of windows with these rows, and these images `[n, To, height, width, channels]`."""
        found = np.empty((len(observed), self.bytes), np.uint8)
        arrays = {key: values[observed] for key, values in self._vectors.items()} | dict(images)
        arrays[""] = self._actions[predicted]
        for key, (place, _, _) in self._parts.items():
            flat = np.ascontiguousarray(arrays[key]).reshape(len(found), -1)
            found[:, place] = flat.view(np.uint8)
        return torch.from_numpy(found)

    def unpacked(self, rows: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Observations and actions: views of the rows."""
        parts = {key: rows[:, place].view(dtype).unflatten(1, shape) for key, (place, dtype, shape) in self._parts.items()}
        return {key: parts[key] for key in self._order}, parts[""]

    def _add(self, key: str, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
        size = prod(shape) * dtype.itemsize
        self._parts[key] = slice(self._end, self._end + size), dtype, shape
        self._end += size


def held_windows(dataset: StreamedDataset, windows: Windows, memory: int) -> Windows:
    """Selects some windows for the validation loss and loads their images into memory.

    Args:
        dataset: the episodes.
        windows: rows of each window, with vectors and actions.
        memory: bytes that the images may take.
    """
    per_window = windows.observed.shape[1] * sum(prod(shape) for shape in dataset.images().shapes.values())
    most = max(1, min(_VALIDATED, memory // per_window))
    chosen = torch.randperm(len(windows), generator=torch.Generator().manual_seed(0))[:most].sort().values
    rows, observed = torch.unique(windows.observed[chosen], return_inverse=True)
    images = read_images(dataset, rows.numpy())
    found = {
        key: torch.from_numpy(images[key]) if key in images else windows.observations[key][rows]
        for key in dataset.info.observation
    }
    return Windows(found, windows.actions, observed, windows.predicted[chosen])


def read_images(dataset: StreamedDataset, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Reads the images of some control steps, in ascending order without repetition: `[rows, *shape]` for each camera."""
    source = dataset.images()
    images = {key: np.empty((len(rows), *shape), np.uint8) for key, shape in source.shapes.items()}
    try:
        for run in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) > 1) + 1):
            out = {key: values[run[0] : run[-1] + 1] for key, values in images.items()}
            source.fill(int(rows[run[0]]), int(rows[run[-1]]) + 1, out)
    finally:
        source.close()
    return images


def _cut(observed: np.ndarray, rows: int, steps: int) -> list[_Block]:
    """Divides the steps into blocks of this size, without blocks that have no window. Windows are sorted by last step."""
    now = observed[:, -1]
    bounds = np.searchsorted(now, np.arange(0, steps + rows, rows))
    return [
        _Block(int(observed[first:last, 0].min()), int(now[last - 1]) + 1, int(first), int(last))
        for first, last in itertools.pairwise(bounds)
        if last > first
    ]


def _rows_a_block(shapes: Mapping[str, tuple[int, ...]], memory: int, observe: int) -> int:
    step = sum(prod(shape) for shape in shapes.values())
    rows = memory // ((HELD + AHEAD) * step) - (observe - 1)
    if rows < _LEAST_ROWS:
        least = -(-(_LEAST_ROWS + observe - 1) * (HELD + AHEAD) * step // MIB)
        raise SettingError(f"image_memory must be at least {least} MiB for images of {step} bytes a step", "image_memory")
    return rows


def _workers() -> int:
    return max(1, min(_MOST_WORKERS, len(os.sched_getaffinity(0)) - 1 if hasattr(os, "sched_getaffinity") else 1))
