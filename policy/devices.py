"""Parses device names: `cpu`, `cuda`, `cuda:1`, or several, `cuda:0,cuda:1`. Needs no PyTorch."""

from collections.abc import Sequence

SEPARATOR = ","


def available(cards: int) -> list[str]:
    """The device names of a machine with the given number of CUDA devices."""
    return ["cpu", *(f"cuda:{i}" for i in range(cards))]


def split_devices(text: str) -> tuple[str, ...]:
    """Splits a checked text into its devices, in order."""
    return tuple(text.split(SEPARATOR))


def gpus(text: str) -> int:
    """The number of CUDA devices in a text."""
    return sum(one.startswith("cuda") for one in split_devices(text))


def check_devices(text: str, there: Sequence[str], what: str = "device") -> tuple[str, ...]:
    """Parses a list of devices of one kind; each gets a copy of the network.

    Args:
        text: names separated by commas. `cpu` may be repeated, a GPU may not; `cuda` means the first GPU.
        there: the devices of the machine.
        what: name of the option, for messages.

    Raises:
        ValueError: a part is empty or not a device of this machine, kinds are mixed, or a GPU is repeated.
    """
    parts = split_devices(text)
    said = f"{what} {text!r}"
    if len(parts) > 1 and not all(parts):
        raise ValueError(f"{said} has an empty part; put one comma between two devices, as in cuda:0,cuda:1")
    if {one.partition(":")[0] for one in parts} == {"cpu", "cuda"}:
        raise ValueError(f"{said} mixes cpu and cuda; name devices of one kind, as in cuda:0,cuda:1")
    for one in parts:
        if one not in there and not (one == "cuda" and len(there) > 1):
            named = said if len(parts) == 1 else f"{one!r} in {said}"
            raise ValueError(f"{named} is not available; there is: {', '.join(there)}")
    if len(parts) == 1:
        return parts
    cards = tuple("cuda:0" if one == "cuda" else one for one in parts)
    for one in cards:
        if one != "cpu" and cards.count(one) > 1:
            raise ValueError(f"{said} names {one} twice; a second copy of the network gains nothing on the same card")
    return cards


def check_one(text: str, what: str = "device") -> None:
    """Checks that a text names a single device, as training requires.

    Raises:
        ValueError: it names several.
    """
    if SEPARATOR in text:
        raise ValueError(
            f"{what} {text!r} names several devices, and a process trains on one; "
            "`accelerate launch --num_processes N` trains on N GPUs, with --device cuda"
        )
