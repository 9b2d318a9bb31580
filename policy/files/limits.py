"""All limits on the size and declared content of untrusted files, each with its reason.

A file is checked against these before memory is allocated for the content that it declares. The limits are far above
anything that this package writes, and above published low-dimensional robot data. If you need more, change a number here.
"""

from numbers import Integral

from paradp.policy.errors import SettingError

KIB, MIB, GIB = 2**10, 2**20, 2**30

# JSON.
DOCUMENT_BYTES = 1 * MIB  # config.json, run.json, evaluation.json, summary.json, zarr.json; a few kilobytes are usual
STATISTICS_BYTES = 2 * MIB  # four numbers for each of `MOST_VALUES` dimensions
EPISODE_BYTES = 5 * MIB  # `MOST_STEPS` control steps of two arms, 800 bytes each
CARD_BYTES = 1 * MIB  # README.md
METRICS_BYTES = 16 * MIB  # metrics.jsonl: a hundred thousand lines; a training writes some hundreds
JSON_DEPTH = 32  # our documents nest 6 deep
JSON_VALUES = 250_000  # `MOST_STEPS` control steps of two arms, 40 each; a value with its key takes 250 bytes of memory

# safetensors.
HEADER_BYTES = 2 * MIB  # 150 bytes for each tensor; a training state has five tensors for each parameter
WEIGHTS_BYTES = 4 * GIB  # a U-Net of 512-1024-2048 channels is 1 GiB
STATE_BYTES = 20 * GIB  # the network, its average, and the optimiser's two moments

# Demonstrations.
MOST_NUMBERS = 2**28  # robomimic's largest low-dimensional files (machine-generated) may have a hundred million
MOST_IMAGE_BYTES = 4096 * GIB  # of all images of a store; training streams what does not fit into memory
MOST_EPISODES = 2**20
MOST_FILES = 100_000  # in a store; each file is a chunk of 4096 steps
CHUNK_BYTES = 64 * MIB  # 64 KiB to 1 MiB are usual
CHUNK_STEPS = 4096  # chunk length of our stores; a chunk may have this length even if the array is shorter
SMALL_CHUNK_BYTES = 1 * MIB  # an HDF5 chunk may have this size even if the array is smaller; h5py's default is below it
HDF5_BYTES = 256 * GIB  # includes camera images, which are not read
# A small file must not fill the memory: arrays may take EXPANSION times the bytes on disk, plus EXPANSION_FREE. Recorded
# motion compresses to a half or a tenth; constant columns compress better.
EXPANSION, EXPANSION_FREE = 256, 32 * MIB
# Memory for HDF5 while it reads a variable-length text, whose length is unknown until then. The library itself needs some.
HDF5_TEXT_MEMORY = 64 * MIB
ATTRIBUTE_BYTES = 1 * MIB  # env_args
MOST_NAMES, NAMES_BYTES = 100_000, 1 * MIB  # in all masks of a file together; robomimic's masks have some hundreds each
MOST_LISTS = 1000  # masks in a file
MOST_ARRAYS = 200_000  # in all demonstrations; robomimic's largest files have 3900 demonstrations with about 20 arrays each

# Tables and latencies.
TABLE_BYTES = 256 * MIB
TABLE_FOOTER_BYTES = 4 * MIB  # our tables have 20 KB
MOST_CELLS = 50_000_000  # rows times columns: enough for a thousand episodes of a thousand steps with twenty columns
MOST_PAGES = 25_000  # in a table; a page has about 20 000 values
LATENCIES_BYTES = 16 * MIB

# Data sets of LeRobot.
FRAMES_BYTES = 1 * GIB  # a file of frames; LeRobot starts a new one after 100 MiB
FRAMES_FOOTER_BYTES = 64 * MIB  # about 2 KB per episode
FRAMES_PAGES = 500_000  # about ten columns, with a page for each episode
CELL_PAGE_BYTES = 64 * MIB  # images come in pages of a megabyte, and a larger one in a page of its own
PICTURE_BYTES = 16 * MIB  # a PNG
CELLS_MEMORY = 256 * MIB  # memory for images that are held at once
VIDEO_BYTES = 8 * GIB  # LeRobot starts a new one after 200 MB

# Policies.
MOST_VALUES = 2**14  # numbers in all vectors of one observed step, or in an action
MOST_EDGE = 4096  # height or width of an image, in pixels
MOST_PIXELS = 2**22  # numbers in an image; 640 by 480 pixels in colour are a million
MOST_KEYS = 256
KEY_BYTES = 80  # a key becomes part of a file name, encoded to up to three times its length
MOST_HORIZON = 1024  # 16 to 64 are usual
MOST_OBSERVED = 128  # 1 or 2 are usual
MOST_STEPS = 6_000  # control steps of an episode in closed loop; 300 and 400 are usual
MOST_CONTROL_HZ = 10_000
MOST_LEVELS = 8  # of a U-Net; 3 or 4 are usual
MOST_CHANNELS = 4096  # 2048 are usual in the largest
MOST_STEM = 256  # of an encoder of images; 64 are usual, and its maps have 8 or 32 times as many
MOST_KERNEL = 63
MOST_LAYERS = 64  # of a transformer; 8 to 12 are usual
MOST_HEADS = 128
MOST_EMBEDDING = 4096


def within(name: str, value: int, least: int, most: int) -> None:
    """Checks that a value is an integer between `least` and `most`.

    Raises:
        SettingError: it is not; the message has the name and the bounds.
    """
    whole = isinstance(value, Integral)
    if not whole or not least <= value <= most:
        raise SettingError(f"{name} must be {'' if whole else 'a whole number '}from {least} to {most}, not {value}", name)


def check_numbers(claimed: int, what: str = "it") -> None:
    """Checks the declared size of demonstrations.

    Args:
        claimed: declared count of numbers.
        what: the file or array, for the message.

    Raises:
        ValueError: there are too many.
    """
    if claimed > MOST_NUMBERS:
        raise ValueError(f"{what} claims to hold {claimed:.2g} numbers, more than the {MOST_NUMBERS:.2g} that are read")


def check_image_bytes(claimed: int) -> None:
    """Checks the declared size of the images in demonstrations.

    Raises:
        ValueError: it is too large.
    """
    if claimed > MOST_IMAGE_BYTES:
        raise ValueError(f"it claims {claimed:.2g} bytes of images, more than the {MOST_IMAGE_BYTES:.2g} that are read")


def check_expansion(claimed: int, stored: int) -> None:
    """Checks that the declared size of a file is not far larger than its size on disk.

    Args:
        claimed: declared size in memory, in bytes.
        stored: size on disk, in bytes.

    Raises:
        ValueError: the declared size is too large.
    """
    if claimed > EXPANSION * stored + EXPANSION_FREE:
        raise ValueError(f"it claims to hold {claimed:.2g} bytes in {stored:.2g} bytes on disk")
