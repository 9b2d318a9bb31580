"""Colours and markers of sampler families, the same in every picture.

The colours are Okabe & Ito's palette, which colour-blind readers can distinguish; the markers carry the same information.
"""

import re
from dataclasses import dataclass

# Colours of other series, in order (Okabe & Ito).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00")


@dataclass(frozen=True)
class Family:
    """Samplers that share a colour and a marker.

    Attributes:
        name: text of the legend.
        prefix: prefixes of the names of its samplers.
        colour, marker: for matplotlib.
    """

    name: str
    prefix: tuple[str, ...]
    colour: str
    marker: str


FAMILIES = (
    Family("DDPM, sequential", ("ddpm", "usual"), "#000000", "o"),
    Family("few steps: DDPM, DDIM, DPM-Solver", ("ddpm-", "ddim", "dpm-solver", "sde-dpm-solver"), "#D55E00", "s"),
    Family("Picard: para-…", ("para-",), "#0072B2", "^"),
    Family("speculative", ("speculative",), "#009E73", "D"),
    Family("other networks: consistency, flow", ("consistency", "flow"), "#E69F00", "X"),
    Family("measured here: auto", ("auto",), "#CC79A7", "P"),
)
OTHER = Family("other", ("",), "#56B4E9", "v")


def family_of(label: str) -> Family:
    """The family of a label's sampler: the one with the longest matching prefix, because `ddpm-25` is not of `ddpm`'s."""
    matches = [(len(prefix), family) for family in FAMILIES for prefix in family.prefix if label.startswith(prefix)]
    return max(matches, key=lambda match: match[0], default=(0, OTHER))[1]


def wrapped(label: str, width: int) -> str:
    """Wraps a label to lines of at most `width` characters, at blanks, and at colons within longer words."""
    lines = [""]
    for word in label.split():
        pieces = [word] if len(word) <= width else re.split(r"(?<=:)", word)
        for i, piece in enumerate(pieces):
            gap = " " * bool(lines[-1] and i == 0)
            if lines[-1] and len(lines[-1]) + len(gap) + len(piece) > width:
                lines.append(piece)
            else:
                lines[-1] += gap + piece
    return "\n".join(lines)


def without_grid(sampler: str) -> str:
    """A sampler's name for tables and pictures: a fitted grid of timesteps is named, but not listed."""
    return re.sub(r":timesteps=[\d-]+", ", fitted", sampler)
