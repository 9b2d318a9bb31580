"""Names beside the points of a plot, where they cover neither each other nor a point."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.path import Path
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

# From a point to the nearest edge of its name, in pixels; a name further off than the first has a thin line to its point.
DISTANCES = (10, 18, 28, 40, 55, 75, 100, 130, 170)
# Right and left first, then above and below, then what lies between.
DEGREES = (0, 180, 90, 270, 45, 315, 135, 225, 20, 340, 160, 200, 65, 295, 115, 245)


@dataclass(frozen=True)
class Named:
    """A point that wants a name; where there is no room for `text`, it gets the shorter `key`."""

    x: float
    y: float
    text: str
    key: str
    colour: str


def place_names(axes: Axes, points: Sequence[Named], lines: Sequence[Bbox], fontsize: float = 8) -> list[Annotation]:
    """Writes a name beside every point, those first in the list first.

    A name covers no point and no other name, and no line where that can be had. The layout of the figure must be final:
    boxes are measured in pixels.

    Args:
        axes: with the points drawn.
        points: what is named.
        lines: boxes around lines, in data coordinates.
        fontsize: of the names.
    """
    names = _Names(axes, points, lines, fontsize)
    return [names.write(point) for point in points]


class _Names:
    """The names written so far."""

    def __init__(self, axes: Axes, points: Sequence[Named], lines: Sequence[Bbox], fontsize: float):
        self._axes = axes
        self._font = fontsize
        self._markers = [_grown(axes, [(point.x, point.y)], 6) for point in points]
        self._lines = [_grown(axes, line.get_points(), 1) for line in lines]
        self._written: list[Bbox] = []

    def write(self, point: Named) -> Annotation:
        covered = [*self._markers, *self._written]
        for text, avoided in ((point.text, [*covered, *self._lines]), (point.text, covered), (point.key, covered)):
            for distance, box in self._places(point, text):
                if not any(box.overlaps(other) for other in avoided) and not self._crossed(point, box):
                    return self._put(point, text, box, distance)
        distance, box = next(self._places(point, point.key))
        return self._put(point, point.key, box, distance)

    def _places(self, point: Named, text: str) -> Iterator[tuple[int, Bbox]]:
        """Boxes that the text may have inside the axes, the nearest first; the first of all is there in any case."""
        x, y = self._axes.transData.transform((point.x, point.y))
        width, height = self._size(text)
        frame, found = self._axes.bbox, False
        for distance in DISTANCES:
            for angle in map(math.radians, DEGREES):
                middle_x = x + math.cos(angle) * (distance + width / 2)
                middle_y = y + math.sin(angle) * (distance + height / 2)
                box = Bbox.from_bounds(middle_x - width / 2, middle_y - height / 2, width, height)
                if frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1:
                    found = True
                    yield distance, box
        if not found:
            yield DISTANCES[0], Bbox.from_bounds(x + DISTANCES[0], y - height / 2, width, height)

    def _crossed(self, point: Named, box: Bbox) -> bool:
        """Whether the line from the point to its name would run through another name or point."""
        own = self._axes.transData.transform((point.x, point.y))
        way = Path(np.array([own, _middle(box)]))
        others = [marker for marker in self._markers if not marker.contains(*own)]
        return any(way.intersects_bbox(other, filled=True) for other in (*self._written, *others))

    def _size(self, text: str) -> tuple[float, float]:
        sample = self._axes.text(0, 0, text, fontsize=self._font, linespacing=1.0)
        extent = sample.get_window_extent()
        sample.remove()
        return extent.width + 2, extent.height + 2

    def _put(self, point: Named, text: str, box: Bbox, distance: int) -> Annotation:
        self._written.append(box)
        leader: dict[str, Any] = {
            "arrowstyle": "-",
            "lw": 0.6,
            "color": point.colour,
            "alpha": 0.6,
            "shrinkA": 0,
            "shrinkB": 3,
        }
        written = self._axes.annotate(
            text, (point.x, point.y), _middle(box), textcoords="figure pixels",
            ha="center", va="center", fontsize=self._font, color=point.colour, linespacing=1.0, zorder=5,
            arrowprops=leader if distance > DISTANCES[0] else None, annotation_clip=False,
        )  # fmt: skip
        written.set_path_effects([withStroke(linewidth=2, foreground="white")])
        return written


def _middle(box: Bbox) -> tuple[float, float]:
    return (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2


def _grown(axes: Axes, points: Any, by: float) -> Bbox:
    """The box around points in data coordinates, in pixels and larger by so many on every side."""
    pixels = axes.transData.transform(points)
    (x0, y0), (x1, y1) = pixels.min(0), pixels.max(0)
    return Bbox.from_extents(x0 - by, y0 - by, x1 + by, y1 + by)
