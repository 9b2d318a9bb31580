"""Places names beside the points of a plot, without overlaps and without crossings of the lines to them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

# Distances from a point to the nearest edge of its name, in points (1/72 inch); names beyond the first have a thin line.
DISTANCES = (6, 10, 16, 23, 32, 43, 58, 75, 98)
# Half the width of a marker, in points.
MARKER = 3.6
# Right and left first, then above and below, then what lies between.
DEGREES = (0, 180, 90, 270, 45, 315, 135, 225, 20, 340, 160, 200, 65, 295, 115, 245)
# Costs of a place besides its distance: another point almost as near, a covered line of the plot, the short name, no name
# at all, a conflict.
AMBIGUOUS, COVERED, SHORT, UNNAMED, CONFLICT = 50.0, 15.0, 150.0, 1_000.0, 50_000.0
# Number of places considered for each of a point's names.
CONSIDERED = 90


@dataclass(frozen=True)
class Named:
    """A point with a name; if there is no space for `text`, it gets the shorter `key`."""

    x: float
    y: float
    text: str
    key: str
    colour: str


def place_names(axes: Axes, points: Sequence[Named], lines: Sequence[Bbox], fontsize: float = 8) -> list[Annotation]:
    """Writes a name beside every point for which there is space.

    A name covers no point, no text of the axes and no other name, and if possible no line. The line from a point to its
    name crosses no other such line and no name. A point without such a place gets no name. The layout of the figure must be
    final, because boxes are measured in pixels.

    Args:
        axes: the axes, with points and other texts already drawn.
        points: the points to name.
        lines: boxes around lines, in data coordinates.
        fontsize: size of the names.

    Returns:
        The names, in the order of the points.
    """
    markers = np.array([_grown(axes, [(point.x, point.y)], MARKER * _pixels(axes)) for point in points])
    covered = np.array([_grown(axes, line.get_points(), 1) for line in lines]).reshape(-1, 4)
    texts = np.array([text.get_window_extent().extents for text in axes.texts if text.get_text()]).reshape(-1, 4)
    places = [_places(axes, points, i, markers, texts, covered, fontsize) for i in range(len(points))]
    named = [(point, of, i) for point, of, i in zip(points, places, _choose(places), strict=True) if of.texts[i]]
    return [_write(axes, point, of, i, fontsize) for point, of, i in named]


@dataclass(frozen=True)
class _Places:
    """The possible places of a point's name; the last one means no name.

    Attributes:
        point: `[2]`, in pixels, like all that follows.
        boxes: `[places, 4]`, left, bottom, right, top.
        ends: `[places, 2]`, where the line from the point meets the name.
        costs: `[places]`.
        texts: the text for each place.
    """

    point: np.ndarray
    boxes: np.ndarray
    ends: np.ndarray
    costs: np.ndarray
    texts: tuple[str, ...]


def _places(
    axes: Axes, points: Sequence[Named], i: int, markers: np.ndarray, texts: np.ndarray, lines: np.ndarray, fontsize: float
) -> _Places:
    """The places inside the axes that cover no point and no text, and whose line passes through no other point."""
    point, frame = points[i], axes.bbox.extents
    at = np.asarray(axes.transData.transform((point.x, point.y)))
    boxes, costs, written = [], [], []
    for text, extra in dict.fromkeys(((point.text, 0.0), (point.key, SHORT * (point.key != point.text)))):
        around, cost = _around(at, _size(axes, text, fontsize), _pixels(axes))
        boxes.append(around)
        costs.append(cost + extra)
        written += [text] * len(around)
    box, cost = np.concatenate(boxes), np.concatenate(costs)
    end = np.clip(at, box[:, :2], box[:, 2:])
    others = markers[~_overlap(markers, markers[i : i + 1])[:, 0]]
    possible = (box[:, :2] >= frame[:2]).all(1) & (box[:, 2:] <= frame[2:]).all(1)
    possible &= ~_overlap(box, np.concatenate([markers, texts])).any(1) & ~_hits(at, end, others).any(1)
    cost = cost + COVERED * _overlap(box, lines).sum(1) + AMBIGUOUS * _nearer(box, at, np.delete(markers, i, 0))
    cheapest = [k for k in np.argsort(cost, kind="stable") if possible[k]]
    kept = [k for text in dict.fromkeys(written) for k in [k for k in cheapest if written[k] == text][:CONSIDERED]]
    nowhere = np.full((1, 4), np.nan)
    return _Places(
        at,
        np.concatenate([box[kept], nowhere]),
        np.concatenate([end[kept], nowhere[:, :2]]),
        np.append(cost[kept], UNNAMED),
        (*(written[k] for k in kept), ""),
    )


def _nearer(boxes: np.ndarray, at: np.ndarray, markers: np.ndarray) -> np.ndarray:
    """For each box, whether another marker is about as near as the point itself."""
    middles = (markers[:, :2] + markers[:, 2:]) / 2
    own, others = (
        np.hypot(*np.moveaxis(np.clip(points, boxes[:, None, :2], boxes[:, None, 2:]) - points, -1, 0))
        for points in (at[None], middles)
    )
    return (others < 1.5 * own).any(1)


def _around(at: np.ndarray, size: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of this size around a point, and the costs of their distances; `scale` is the pixels per point (1/72 inch)."""
    around = [(distance, k, math.radians(angle)) for distance in DISTANCES for k, angle in enumerate(DEGREES)]
    middles = [at + np.array([math.cos(a), math.sin(a)]) * (scale * distance + size / 2) for distance, _, a in around]
    boxes = np.array([np.concatenate([middle - size / 2, middle + size / 2]) for middle in middles])
    return boxes, np.array([distance + 0.2 * k for distance, k, _ in around])


def _pixels(axes: Axes) -> float:
    """Pixels per point (1/72 inch)."""
    return axes.figure.dpi / 72


def _size(axes: Axes, text: str, fontsize: float) -> np.ndarray:
    sample = axes.text(0, 0, text, fontsize=fontsize, linespacing=1.0)
    extent = sample.get_window_extent()
    sample.remove()
    return np.array([extent.width + 2, extent.height + 2])


def _choose(places: Sequence[_Places]) -> list[int]:
    """Chooses places without conflicts, such that no change of one or two places lowers the total cost."""
    pairs = list(combinations(range(len(places)), 2))
    conflicts = {(i, j): _conflicts(places[i], places[j]) for i, j in pairs}
    conflicts |= {(j, i): conflicts[i, j].T for i, j in pairs}
    chosen = [len(of.costs) - 1 for of in places]

    def costs(i: int, without: int | None = None) -> np.ndarray:
        """The costs of each place of name i while the others stay, except one that is ignored."""
        others = (k for k in range(len(places)) if k not in (i, without))
        return places[i].costs + CONFLICT * sum(conflicts[i, k][:, chosen[k]] for k in others)

    for i in range(len(places)):
        chosen[i] = int(np.argmin(costs(i)))
    improved = True
    while improved:
        improved = False
        for i, j in pairs:
            both = costs(i, j)[:, None] + costs(j, i)[None, :] + CONFLICT * conflicts[i, j]
            best = np.unravel_index(np.argmin(both), both.shape)
            if both[best] < both[chosen[i], chosen[j]]:
                chosen[i], chosen[j], improved = int(best[0]), int(best[1]), True
    return chosen


def _conflicts(a: _Places, b: _Places) -> np.ndarray:
    """`[places of a, places of b]`: whether names overlap, lines cross, or a line passes through the other name."""
    through = _hits(a.point, a.ends, b.boxes) | _hits(b.point, b.ends, a.boxes).T
    return _overlap(a.boxes, b.boxes) | _cross(a.point, a.ends, b.point, b.ends) | through


def _overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whether boxes `[A, 4]` and boxes `[B, 4]` overlap: `[A, B]`."""
    first, second = a[:, None], b[None]
    return ((first[..., :2] < second[..., 2:]) & (second[..., :2] < first[..., 2:])).all(-1)


def _hits(begin: np.ndarray, ends: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Whether segments from a point to `[A, 2]` meet boxes `[B, 4]`: `[A, B]`, by the separating axis test."""
    half = (ends - begin)[:, None] / 2
    between = begin + half - (boxes[None, :, :2] + boxes[None, :, 2:]) / 2
    extent = (boxes[None, :, 2:] - boxes[None, :, :2]) / 2
    near = (np.abs(between) <= extent + np.abs(half)).all(-1)
    return near & (
        np.abs(_turn(between, half)) <= np.abs(half[..., 1]) * extent[..., 0] + np.abs(half[..., 0]) * extent[..., 1]
    )


def _cross(a: np.ndarray, a_ends: np.ndarray, b: np.ndarray, b_ends: np.ndarray) -> np.ndarray:
    """Whether segments from a to `[A, 2]` cross segments from b to `[B, 2]`: `[A, B]`."""
    along_a, along_b = (a_ends - a)[:, None], (b_ends - b)[None]
    sides_of_a = _turn(along_a, b - a) * _turn(along_a, b_ends[None] - a)
    sides_of_b = _turn(along_b, a - b) * _turn(along_b, a_ends[:, None] - b)
    return (sides_of_a < 0) & (sides_of_b < 0)


def _turn(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cross product: positive if b points to the left of a."""
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _write(axes: Axes, point: Named, places: _Places, i: int, fontsize: float) -> Annotation:
    box, end = places.boxes[i], places.ends[i]
    far = np.hypot(*(end - places.point)) > _pixels(axes) * DISTANCES[0] + 1
    leader: dict[str, Any] = {
        "arrowstyle": "-",
        "lw": 0.6,
        "color": point.colour,
        "alpha": 0.6,
        "shrinkA": 0,
        "shrinkB": 3,
        "relpos": tuple((end - box[:2]) / (box[2:] - box[:2])),
    }
    written = axes.annotate(
        places.texts[i], (point.x, point.y), tuple((box[:2] + box[2:]) / 2), textcoords="figure pixels",
        ha="center", va="center", fontsize=fontsize, color=point.colour, linespacing=1.0, zorder=5,
        arrowprops=leader if far else None, annotation_clip=False,
    )  # fmt: skip
    written.set_path_effects([withStroke(linewidth=2, foreground="white")])
    return written


def _grown(axes: Axes, points: Any, by: float) -> np.ndarray:
    """The box around points in data coordinates, in pixels, enlarged on each side."""
    pixels = axes.transData.transform(points)
    return np.concatenate([pixels.min(0) - by, pixels.max(0) + by])
