"""Film strips of recorded cameras, to be looked at before anything is trained on them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from paradp.policy.files.writing import naming_file
from paradp.policy.wording import counted

if TYPE_CHECKING:
    from paradp.policy.data.dataset import ImageSource

FRAMES = 10
# Height of a picture, of a line of text, and the space between pictures, in pixels.
HEIGHT, LINE, SPACE = 128, 20, 4


def draw_film_strips(
    images: "ImageSource", ends: Sequence[int], folder: Path, episodes: int, control_hz: float | None = None
) -> list[Path]:
    """Draws a PNG for each camera: a row for each of the first episodes, with pictures evenly spread over its time.

    Args:
        images: the cameras.
        ends: of the episodes.
        folder: where to write CAMERA.png.
        episodes: number of rows.
        control_hz: control steps a second; without it the step is written below each picture instead of the time.

    Returns:
        the files.

    Raises:
        ValueError: an image is missing or damaged.
        OSError: a file cannot be written.
    """
    spans = list(zip([0, *ends[:-1]], ends, strict=True))[:episodes]
    written = []
    for key in images.shapes:
        path = folder / f"{quote(key, safe='')}.png"
        rows = [_row(images, key, index, span, control_hz) for index, span in enumerate(spans)]
        sheet = np.full((LINE + sum(len(row) for row in rows), max(row.shape[1] for row in rows), 3), 255, np.uint8)
        at = LINE
        for row in rows:
            sheet[at : at + len(row), : row.shape[1]] = row
            at += len(row)
        picture = Image.fromarray(sheet)
        height, width, _ = images.shapes[key]
        shown = f"{len(spans)} of {len(ends)} episodes, from left to right in time"
        _write(picture, (SPACE, 2), f"{key}: {width} by {height} pixels; {shown}")
        with naming_file(path):
            folder.mkdir(parents=True, exist_ok=True)
            picture.save(path)
        written.append(path)
    return written


def _row(images: "ImageSource", key: str, index: int, span: tuple[int, int], control_hz: float | None) -> np.ndarray:
    begin, end = span
    height, width, _ = images.shapes[key]
    shown = round(width * HEIGHT / height)
    steps = np.unique(np.linspace(0, end - begin - 1, FRAMES).round().astype(int)).tolist()
    row = Image.new("RGB", (SPACE + FRAMES * (shown + SPACE), HEIGHT + 2 * LINE), "white")
    _write(row, (SPACE, 2), f"episode {index}, {counted(end - begin, 'step')}")
    for place, step in enumerate(steps):
        frame = np.empty((1, *images.shapes[key]), np.uint8)
        images.fill(begin + step, begin + step + 1, {key: frame})
        picture = Image.fromarray(frame[0, ..., 0] if frame.shape[-1] == 1 else frame[0]).convert("RGB")
        left = SPACE + place * (shown + SPACE)
        smooth = Image.Resampling.BOX if height > HEIGHT else Image.Resampling.NEAREST
        row.paste(picture.resize((shown, HEIGHT), smooth), (left, LINE))
        _write(row, (left, LINE + HEIGHT + 2), f"{step / control_hz:.1f} s" if control_hz else f"step {step}")
    return np.asarray(row)


def _write(picture: Image.Image, place: tuple[int, int], text: str) -> None:
    ImageDraw.Draw(picture).text(place, text, "black", ImageFont.load_default(13))
