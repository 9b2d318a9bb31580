"""Checks every image of a data set, and describes oddities: black frames, frozen cameras, dropped frames, wrong rates."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod

import numpy as np

from paradp.policy.data.dataset import ImageSource
from paradp.policy.wording import counted

# The array of recorded times: not an observation.
TIMES = "timestamp"
_PIECE_BYTES = 2**26  # of images that are held at once
# A camera was recorded at another rate if its image changes in a smaller share of the steps with motion.
_SLOW = 0.6
# Frames were dropped if a step takes this many times the usual time.
_GAP = 1.5


@dataclass
class CameraLook:
    """Statistics of the frames of one camera.

    Attributes:
        shape: height, width and channels.
        least, most, mean: of all its pixels.
        black: number of black frames.
        frozen: number of episodes with several steps in which its image never changes.
        moving: number of steps in which the vectors changed, without frozen episodes.
        repeated: episode and step of each of these steps in which the image equals the one before.
    """

    shape: tuple[int, ...]
    least: int = 255
    most: int = 0
    mean: float = 0.0
    black: int = 0
    frozen: int = 0
    moving: int = 0
    repeated: list[tuple[int, int]] = field(default_factory=list)


def look_at(images: ImageSource, vectors: Mapping[str, np.ndarray], ends: Sequence[int]) -> dict[str, CameraLook]:
    """Reads every image once; only a part of them is in memory at a time.

    Args:
        images: the images.
        vectors: the observed vectors: an image that stays the same while these change is a repeated frame.
        ends: ends of the episodes.

    Raises:
        ValueError: an image is missing or damaged.
    """
    found = {}
    for key, shape in images.shapes.items():
        look, total, begin = CameraLook(tuple(shape)), 0.0, 0
        for episode, end in enumerate(ends):
            same, sums = _of_episode(images, key, begin, end, look)
            total += sums
            if len(same) and all(same):
                look.frozen += 1
            else:
                moved = _moved(vectors, begin, end)
                look.moving += int(moved.sum())
                look.repeated += [(episode, step + 1) for step in np.flatnonzero(np.array(same, bool) & moved).tolist()]
            begin = end
        look.mean = total / (begin * prod(shape))
        found[key] = look
    return found


def image_remarks(looks: Mapping[str, CameraLook], ends: Sequence[int], control_hz: float | None = None) -> Iterator[str]:
    """Returns a sentence for each oddity of the cameras."""
    for key, look in looks.items():
        if look.black:
            yield f"{key}: {look.black} of {ends[-1]} frames are black"
        if look.frozen:
            yield f"{key}: the camera stands still in {look.frozen} of {len(ends)} episodes"
        if not look.repeated:
            continue
        new = 1 - len(look.repeated) / look.moving
        if new < _SLOW:
            rate = f": about {new * control_hz:.1f} pictures a second, and not {control_hz:g}" if control_hz else ""
            yield f"{key}: a wrong rate: the picture changes in {new:.0%} of the steps in which the robot moves{rate}"
        else:
            (episode, step), longest = _longest(look.repeated)
            yield (
                f"{key}: dropped frames: {counted(len(look.repeated), 'picture')} are those of the step before, though the"
                f" robot moves; the most in a row, {longest}, in episode {episode} from step {step} on"
            )


def time_remarks(times: np.ndarray, ends: Sequence[int], control_hz: float | None) -> Iterator[str]:
    """Returns a sentence for each oddity of recorded times: another rate than declared, and missing steps.

    Args:
        times: time of each step in seconds, `[steps]`.
        ends: ends of the episodes.
        control_hz: steps per second, if known.
    """
    steps = [np.diff(times[begin:end]) for begin, end in zip([0, *ends[:-1]], ends, strict=True)]
    together = np.concatenate(steps) if steps else np.empty(0)
    usual = float(np.median(together)) if len(together) else 0.0
    if usual <= 0:
        return
    if control_hz and not 0.95 < usual * control_hz < 1.05:
        yield f"timestamp: {1 / usual:.1f} steps a second, and not {control_hz:g}"
    if gaps := [(e, int(i)) for e, one in enumerate(steps) for i in np.flatnonzero(one > _GAP * usual)]:
        episode, step = gaps[0]
        yield (
            f"timestamp: dropped frames: {counted(len(gaps), 'step')} took more than {_GAP} times as long as usual, the"
            f" first in episode {episode} after step {step}"
        )


def _of_episode(images: ImageSource, key: str, begin: int, end: int, look: CameraLook) -> tuple[list[bool], float]:
    """Returns whether each image but the first equals the one before, and the sum of all pixels."""
    rows = max(2, _PIECE_BYTES // prod(look.shape))
    same, total, last = [], 0.0, None
    for first in range(begin, end, rows):
        piece = np.empty((min(rows, end - first), *look.shape), np.uint8)
        images.fill(first, first + len(piece), {key: piece})
        look.least, look.most = min(look.least, int(piece.min())), max(look.most, int(piece.max()))
        total += float(piece.sum(dtype=np.float64))
        look.black += sum(not frame.any() for frame in piece)
        before = piece[:-1] if last is None else [last, *piece[:-1]]
        after = piece[1:] if last is None else piece
        same += [np.array_equal(*pair) for pair in zip(before, after, strict=True)]
        last = piece[-1]
    return same, total


def _moved(vectors: Mapping[str, np.ndarray], begin: int, end: int) -> np.ndarray:
    """Returns for each step of an episode but the first whether an observed vector changed; without vectors always true."""
    if not vectors:
        return np.ones(end - begin - 1, bool)
    changes = [(values[begin + 1 : end] != values[begin : end - 1]).any(axis=-1) for values in vectors.values()]
    return np.any(changes, axis=0)


def _longest(repeated: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], int]:
    """The first step of the longest run of consecutive steps in one episode, and its length."""
    best, start, length = (repeated[0], 1), repeated[0], 1
    for (episode, step), here in pairwise(repeated):
        start, length = (start, length + 1) if here == (episode, step + 1) else (here, 1)
        if length > best[1]:
            best = start, length
    return best
