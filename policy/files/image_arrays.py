"""Checks arrays of images from other programs: the order of their axes, their size, and how their pixels are stored."""

from collections.abc import Sequence

import numpy as np

from paradp.policy.files.limits import MOST_EDGE, MOST_PIXELS, within

CHANNELS = (1, 3)
_BRIGHTEST = 255


def image_shape(shape: Sequence[int], dtype: np.dtype, what: str) -> tuple[int, int, int]:
    """Returns height, width and channels of an array of images `[steps, height, width, channels]`.

    Args:
        shape: the shape of the whole array.
        dtype: the type of its pixels: uint8, or floats, see `as_bytes`.
        what: names the array in messages.

    Raises:
        ValueError: the array is not of this form; if its channels come first, the message says so.
    """
    if len(shape) != 4:
        raise ValueError(f"{what} is not an array of images: its shape is {tuple(shape)}")
    _, height, width, channels = shape
    if channels not in CHANNELS and shape[1] in CHANNELS:
        raise ValueError(
            f"{what} has its channels first (shape {tuple(shape)}); images are read as steps × height × width × channels:"
            " move the axis, numpy.moveaxis(images, 1, -1)"
        )
    if channels not in CHANNELS:
        raise ValueError(f"{what} has {channels} channels (shape {tuple(shape)}); 1 and 3 are read")
    if dtype != np.uint8 and dtype.kind != "f":
        raise ValueError(f"{what} holds {dtype}; images are read as uint8")
    for edge in (height, width):
        within(f"an edge of {what}", edge, 1, MOST_EDGE)
    within(f"the size of {what}", height * width * channels, 1, MOST_PIXELS)
    return height, width, channels


def as_bytes(images: np.ndarray, what: str) -> np.ndarray:
    """Converts images to uint8. Floats are accepted if the conversion is exact, as in Diffusion Policy's PushT images.

    Args:
        images: uint8, or floats that are whole numbers from 0 to 255.
        what: names the array in messages.

    Raises:
        ValueError: they are other floats, such as from 0 to 1.
    """
    if images.dtype == np.uint8:
        return images
    # Not a number compares unequal to everything, and a number outside the range changes in the conversion.
    with np.errstate(invalid="ignore"):
        found = images.astype(np.uint8)
    if not np.array_equal(found, images):
        finite = images[np.isfinite(images)]
        spread = f"from {finite.min():g} to {finite.max():g}" if finite.size else "that are not finite"
        raise ValueError(
            f"{what} holds float images {spread}; images are read as uint8, or as floats that are whole numbers from 0 to"
            f" {_BRIGHTEST}: scale and round them"
        )
    return found
