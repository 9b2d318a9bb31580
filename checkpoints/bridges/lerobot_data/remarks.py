"""Warnings about a LeRobotDataset that can be read but looks wrong."""

from collections.abc import Iterator

import numpy as np

from paradp.bridges.lerobot_data import layout
from paradp.bridges.lerobot_data.frames import LeRobotFrames
from paradp.policy.files.limits import STATISTICS_BYTES
from paradp.policy.files.reading import read_object


def remarks(frames: LeRobotFrames) -> list[str]:
    """Returns a sentence for each warning; errors as of `LeRobotFrames.observations`."""
    return [*_of_statistics(frames), *_of_images(frames)]


def _of_statistics(frames: LeRobotFrames) -> Iterator[str]:
    """Compares the stored statistics with the frames: LeRobot normalises with them, paradp does not."""
    path = frames.path / layout.STATS
    if not path.is_file():
        yield f"there is no {layout.STATS}, which LeRobot normalises with"
        return
    stored = read_object(path, STATISTICS_BYTES)
    observations = frames.observations()
    vectors = {
        key: np.concatenate([observations[name] for name in said], axis=-1)
        for key, said in frames.parts.items()
        if not isinstance(said, str)
    }
    for key, values in {**vectors, layout.ACTION: frames.actions()}.items():
        one = stored.get(key)
        for name, found in (("min", values.min(0)), ("max", values.max(0))):
            if not _agrees(one.get(name) if isinstance(one, dict) else None, found):
                yield f"{layout.STATS} gives another {name} of {key} than its frames have"


def _agrees(stored: object, found: np.ndarray) -> bool:
    try:
        given = np.asarray(stored, np.float64).ravel()
    except (TypeError, ValueError):
        return False
    return given.shape == found.shape and np.allclose(given, found, rtol=1e-4, atol=1e-6)


def _of_images(frames: LeRobotFrames) -> Iterator[str]:
    """Finds cameras with frozen or black images."""
    ends = frames.episode_ends
    for name, values in frames.observations().items():
        if values.dtype != np.uint8:
            continue
        black = sum(not frame.any() for frame in values)
        if black:
            yield f"{name}: {black} of {len(values)} frames are black"
        spans = zip([0, *ends[:-1]], ends, strict=True)
        frozen = sum(
            end - begin > 1 and all(np.array_equal(values[begin], one) for one in values[begin + 1 : end])
            for begin, end in spans
        )
        if frozen:
            yield f"{name}: the camera stands still in {frozen} of {len(ends)} episodes"
