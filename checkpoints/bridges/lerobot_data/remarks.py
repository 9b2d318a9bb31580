"""Remarks on a LeRobotDataset that can be read, but has oddities."""

from collections.abc import Iterator

import numpy as np

from paradp.bridges.lerobot_data import layout
from paradp.bridges.lerobot_data.frames import LeRobotFrames
from paradp.policy.data.image_defects import image_remarks, look_at
from paradp.policy.files.limits import STATISTICS_BYTES
from paradp.policy.files.reading import read_object


def remarks(frames: LeRobotFrames) -> list[str]:
    """Returns a sentence for each oddity; errors as of `LeRobotFrames.observations`."""
    images, ends = frames.images(), frames.episode_ends.tolist()
    try:
        looks = look_at(images, frames.vectors(), ends)
    finally:
        images.close()
    return [*statistics_remarks(frames), *image_remarks(looks, ends, frames.described.fps)]


def statistics_remarks(frames: LeRobotFrames) -> Iterator[str]:
    """Compares the stored statistics, which LeRobot normalises with, with the frames. They are not used here."""
    path = frames.path / layout.STATS
    if not path.is_file():
        yield f"there is no {layout.STATS}, which LeRobot normalises with"
        return
    stored = read_object(path, STATISTICS_BYTES, frames.path)
    observations = frames.vectors()
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
