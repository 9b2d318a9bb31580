"""Compressed pictures: PNG and JPEG, whose size is compared before anything is decoded."""

import io

import numpy as np

# Scans in a picture. Progressive files have about ten; each scan can take the time of a whole picture, in twenty bytes.
MOST_SCANS = 32
# EXIF segments in a picture. Pillow concatenates them; a camera writes one or two.
MOST_SEGMENTS = 64
_SCAN, _SEGMENT = b"\xff\xda", b"\xff\xe1"  # never within the data of a JPEG's scan
# Largest size of a JPEG: noise in the best quality takes up to 1.4 bytes per number, and previews and notes take some more.
_BYTES_OF_NUMBER, _OTHER_BYTES = 2, 2**16
_JPEG = b"\xff\xd8"


def decoded(content: bytes, shape: tuple[int, ...], formats: tuple[str, ...] = ("PNG", "JPEG")) -> np.ndarray:
    """A picture as uint8 `[height, width, channels]`, with the pixels as they are stored (no rotation by EXIF).

    Args:
        content: the file.
        shape: height, width and channels that it must have.
        formats: Pillow's names of the formats that are read.

    Raises:
        ValueError: it is of another format or size, damaged, or longer than such a picture can be; the size is compared
            before it is decoded.
    """
    from PIL import Image, UnidentifiedImageError

    height, width, channels = shape
    if content.startswith(_JPEG):
        _check_length(content, height, width)
    try:
        with Image.open(io.BytesIO(content), formats=formats) as picture:
            if picture.size != (width, height):
                raise ValueError(f"it is {picture.size[0]} × {picture.size[1]} pixels, not {width} × {height}")
            if picture.mode not in ("L", "RGB"):
                raise ValueError(f"its pixels are {picture.mode}; L and RGB are read")
            if picture.format != "PNG" and (scans := content.count(_SCAN)) > MOST_SCANS:
                raise ValueError(f"it has {scans} scans; at most {MOST_SCANS} are read")
            values = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        why = "" if isinstance(error, UnidentifiedImageError) else f": {error}"
        raise ValueError(f"it is not a readable {' or '.join(formats)}{why}") from error
    return values.reshape(shape)


def _check_length(content: bytes, height: int, width: int) -> None:
    """Limits the metadata of a JPEG before Pillow reads it, because Pillow's time grows with the square of their length.

    Raises:
        ValueError: the file is too long, or has too many segments.
    """
    if len(content) > (most := _BYTES_OF_NUMBER * 3 * height * width + _OTHER_BYTES):
        raise ValueError(f"it has {len(content)} bytes; a JPEG of {width} × {height} pixels has at most {most}")
    if (segments := content.count(_SEGMENT)) > MOST_SEGMENTS:
        raise ValueError(f"it has {segments} segments of EXIF; at most {MOST_SEGMENTS} are read")
