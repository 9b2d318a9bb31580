"""The interface of training data."""

from collections.abc import Iterator, Mapping
from math import prod
from typing import Protocol, runtime_checkable

import numpy as np

from paradp.policy.data.episode import DemonstrationInfo
from paradp.policy.identity import Pieces, digest

_PIECE_BYTES = 2**26  # of images hashed at once


class Dataset(Protocol):
    """Episodes of observations and actions.

    `Demonstrations` implements it with a zarr store. Training, distillation and fidelity accept any object with these
    attributes; `paradp.policy.data.windows` cuts it into examples.

    Attributes:
        path: its source, for messages.
        info: description of the features and the robot.
        episode_ends: `[episodes]`, cumulative control steps.
    """

    @property
    def path(self) -> object: ...

    @property
    def info(self) -> DemonstrationInfo: ...

    @property
    def episode_ends(self) -> np.ndarray: ...

    def observations(self) -> Mapping[str, np.ndarray]:
        """Feature → `[steps, *shape]` of all episodes, concatenated; in the order of `info.observation`."""
        ...

    def actions(self) -> np.ndarray:
        """The actions to learn, `[steps, A]`."""
        ...

    def digest(self) -> str:
        """The hash of the data; a run continues only with the same data."""
        ...


class ImageSource(Protocol):
    """Reads images by control step. It can be pickled, so that each worker process gets a copy and opens its own files.

    Attributes:
        shapes: height, width and channels of each camera's images.
    """

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]: ...

    def fill(self, begin: int, end: int, out: Mapping[str, np.ndarray]) -> None:
        """Reads the images of the steps from `begin` to `end` into arrays `[end - begin, height, width, channels]`.

        Raises:
            ValueError: an image is missing or damaged.
            OSError: a file is missing or cannot be read.
        """
        ...

    def close(self) -> None:
        """Closes its files."""
        ...


@runtime_checkable
class StreamedDataset(Dataset, Protocol):
    """A data set whose images can be read in parts: training streams it if they do not fit into memory."""

    def vectors(self) -> Mapping[str, np.ndarray]:
        """Reads only the vectors of `observations`, without images."""
        ...

    def images(self) -> ImageSource:
        """Returns a reader of the images."""
        ...


def step_count(dataset: Dataset) -> int:
    """Number of control steps of all episodes."""
    return int(dataset.episode_ends[-1]) if len(dataset.episode_ends) else 0


def largest_step(dataset: Dataset) -> np.ndarray:
    """Largest change of each dimension between consecutive actions of an episode, `[A]`."""
    actions, ends = dataset.actions(), dataset.episode_ends
    steps = np.abs(np.diff(actions, axis=0))
    within = np.ones(len(steps), bool)
    within[ends[:-1] - 1] = False
    return steps[within].max(0, initial=0.0)


def image_bytes(dataset: StreamedDataset) -> int:
    """Size of all images in memory."""
    return step_count(dataset) * sum(prod(shape) for shape in dataset.images().shapes.values())


def content_digest(dataset: StreamedDataset) -> str:
    """Hash of what training reads: observations with their columns in order, actions, and the ends of the episodes."""
    vectors, images = list(dataset.vectors().values()), dataset.images()
    # Vectors are concatenated, as in the first version without images, so that its digests stay valid.
    together = {"observations": np.concatenate(vectors, axis=-1)} if vectors else {}
    seen = {f"image {key}": _pieces(images, key, step_count(dataset)) for key in images.shapes}
    try:
        return digest({**together, **seen, "actions": dataset.actions(), "episode_ends": dataset.episode_ends})
    finally:
        images.close()


def _pieces(images: ImageSource, key: str, steps: int) -> Pieces:
    shape = images.shapes[key]
    rows = max(1, _PIECE_BYTES // prod(shape))

    def read() -> Iterator[np.ndarray]:
        for begin in range(0, steps, rows):
            piece = np.empty((min(rows, steps - begin), *shape), np.uint8)
            images.fill(begin, begin + len(piece), {key: piece})
            yield piece

    return Pieces(np.dtype(np.uint8), (steps, *shape), read())
