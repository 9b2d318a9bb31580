"""How large a file from outside may be, and what it may claim to hold. Every limit stands here, with its reason.

A file is compared with these before memory is set aside for what it claims. They are far above anything that the package
writes or that is published for robots' low-dimensional data; if you need more, change a number here.
"""

from numbers import Integral

from paradp.policy.errors import SettingError

KIB, MIB, GIB = 2**10, 2**20, 2**30

# JSON.
DOCUMENT_BYTES = 1 * MIB  # config.json, run.json, evaluation.json, summary.json, zarr.json: a few kilobytes
STATISTICS_BYTES = 2 * MIB  # four numbers for each of `MOST_VALUES` dimensions
EPISODE_BYTES = 5 * MIB  # `MOST_STEPS` of some 450 bytes
CARD_BYTES = 1 * MIB  # README.md
METRICS_BYTES = 16 * MIB  # metrics.jsonl: a hundred thousand lines; a training writes some hundreds
JSON_DEPTH = 32  # ours nest 6 deep
JSON_VALUES = 250_000  # `MOST_STEPS` of some 30; one with a key takes 250 bytes of memory, however few it takes in the file

# safetensors.
HEADER_BYTES = 2 * MIB  # 150 bytes a tensor; a training state holds five for each parameter
WEIGHTS_BYTES = 4 * GIB  # a U-Net of 512-1024-2048 channels is 1 GiB
STATE_BYTES = 20 * GIB  # network, average and the optimiser's two moments

# Demonstrations.
MOST_NUMBERS = 2**28  # the largest of robomimic's low-dimensional files, machine-generated ones, may hold a hundred million
MOST_IMAGE_BYTES = 64 * GIB  # of all images of a store: 2.5 million of 96 × 96 pixels; whether they fit in memory is checked
MOST_EPISODES = 2**20
MOST_FILES = 100_000  # of a store: a chunk of 4096 steps each
CHUNK_BYTES = 64 * MIB  # 64 KiB to 1 MiB are usual
CHUNK_STEPS = 4096  # of our own stores: so many steps a chunk may have although the array is shorter
SMALL_CHUNK_BYTES = 1 * MIB  # so much an HDF5 chunk may take although the array is smaller; h5py's own choice is below it
HDF5_BYTES = 256 * GIB  # camera pictures lie in the same file; they are not read
# A small file must not fill the memory: numbers may take so many times the bytes on disk, and this much besides. Recorded
# motion compresses to a half or a tenth; constant columns do better.
EXPANSION, EXPANSION_FREE = 256, 32 * MIB
# So much memory HDF5 gets while a text of open length is read, which shows its length only then; some is the library's own.
HDF5_TEXT_MEMORY = 64 * MIB
ATTRIBUTE_BYTES = 1 * MIB  # env_args
MOST_NAMES, NAMES_BYTES = 100_000, 1 * MIB  # of all masks of a file together; robomimic's list some hundreds each
MOST_LISTS = 1000  # masks
MOST_ARRAYS = 200_000  # of all demonstrations: robomimic's largest, machine-generated, have 3900 with some 20 each

# Tables and latencies.
TABLE_BYTES = 256 * MIB
TABLE_FOOTER_BYTES = 4 * MIB  # ours have 20 KB
MOST_CELLS = 50_000_000  # rows times columns: a thousand episodes of a thousand steps, twenty columns
MOST_PAGES = 25_000  # of a table; a page has some 20 000 values
LATENCIES_BYTES = 16 * MIB

# Data sets of LeRobot.
FRAMES_BYTES = 1 * GIB  # a file of frames; LeRobot begins another one after 100 MiB
FRAMES_FOOTER_BYTES = 64 * MIB  # some 2 KB an episode
FRAMES_PAGES = 500_000  # some ten columns, an episode is a page of each
CELL_PAGE_BYTES = 64 * MIB  # images come in pages of a megabyte, and a larger one in a page of its own
PICTURE_BYTES = 16 * MIB  # a PNG
CELLS_MEMORY = 256 * MIB  # so much the images take that are held at once
VIDEO_BYTES = 8 * GIB  # LeRobot begins another one after 200 MB

# Policies.
MOST_VALUES = 2**14  # of the vectors of one observed step, or of an action
MOST_EDGE = 4096  # of an image, in pixels
MOST_PIXELS = 2**22  # numbers of an image; 640 by 480 pixels in colour are a million
MOST_KEYS = 256
KEY_BYTES = 80  # it becomes part of a file's name, up to three times as long
MOST_HORIZON = 1024  # 16 to 64 are usual
MOST_OBSERVED = 128  # 1 or 2 are usual
MOST_STEPS = 8_000  # control steps of an episode in a closed loop; 300 and 400 are usual
MOST_CONTROL_HZ = 10_000
MOST_LEVELS = 8  # of a U-Net; 3 or 4 are usual
MOST_CHANNELS = 4096  # 2048 are usual in the largest
MOST_STEM = 256  # of an encoder of images; 64 are usual, and its maps have 8 or 32 times as many
MOST_KERNEL = 63
MOST_LAYERS = 64  # of a transformer; 8 to 12 are usual
MOST_HEADS = 128
MOST_EMBEDDING = 4096


def within(name: str, value: int, least: int, most: int) -> None:
    """Checks one whole number; NaN and infinities are none.

    Raises:
        SettingError: it is outside; the message says of what.
    """
    whole = isinstance(value, Integral)
    if not whole or not least <= value <= most:
        raise SettingError(f"{name} must be {'' if whole else 'a whole number '}from {least} to {most}, not {value}", name)


def check_numbers(claimed: int, what: str = "it") -> None:
    """Checks how many numbers demonstrations claim to hold.

    Args:
        claimed: so many.
        what: who claims it.

    Raises:
        ValueError: they are too many.
    """
    if claimed > MOST_NUMBERS:
        raise ValueError(f"{what} claims to hold {claimed:.2g} numbers, more than the {MOST_NUMBERS:.2g} that are read")


def check_image_bytes(claimed: int) -> None:
    """Checks how many bytes of images demonstrations claim to hold.

    Raises:
        ValueError: they are too many.
    """
    if claimed > MOST_IMAGE_BYTES:
        raise ValueError(
            f"it claims to hold {claimed:.2g} bytes of images, more than the {MOST_IMAGE_BYTES:.2g} that are read"
        )


def check_expansion(claimed: int, stored: int) -> None:
    """Checks that what a file claims to hold is not far beyond what is stored.

    Args:
        claimed: bytes in memory.
        stored: bytes on disk.

    Raises:
        ValueError: it is.
    """
    if claimed > EXPANSION * stored + EXPANSION_FREE:
        raise ValueError(f"it claims to hold {claimed:.2g} bytes in {stored:.2g} bytes on disk")
