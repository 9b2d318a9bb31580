"""Renders PushT's picture with the same pixels as gym-pusht, from the poses alone, in about a tenth of the time.

gym-pusht draws on a new surface, with a callback for every shape, and rotates the large picture before it scales it down.
Here the same shapes are drawn on one surface, which is scaled down in place. gym-pusht's red dots at contacts are left out,
because they depend on the contact solver's history and not only on the state.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import pygame

Colour = tuple[int, int, int]
Pixel = tuple[int, int]

EDGE = 512  # size of the surface, px
WHITE: Colour = (255, 255, 255)
GOAL: Colour = (144, 238, 144)
WALL: Colour = (211, 211, 211)
BLOCK: Colour = (119, 136, 153)
BLOCK_INSIDE: Colour = (143, 163, 184)
AGENT: Colour = (65, 105, 225)
AGENT_INSIDE: Colour = (78, 126, 255)
WALLS = (((5, 506), (5, 5)), ((5, 5), (506, 5)), ((506, 5), (506, 506)), ((5, 506), (506, 506)))
# Half the width of lines, and the radii of the disc and of its lighter centre.
LINE, RADIUS, INSIDE = 2, 15, 11


class BoardPicture:
    """Renders the board.

    Args:
        goal: corners of the goal's boxes, `[2, 4, 2]` (px).
        height, width: size of a picture, px.
    """

    def __init__(self, goal: np.ndarray, height: int, width: int):
        self._size = width, height
        self._screen = pygame.Surface((EDGE, EDGE), depth=32)
        # The surface's own memory: blue, green, red, and an unused byte.
        memory: Any = self._screen.get_buffer()
        self._pixels = np.frombuffer(memory, np.uint8).reshape(EDGE, EDGE, 4)
        self._screen.fill(WHITE)
        for box in goal:
            pygame.draw.polygon(self._screen, GOAL, _places(box))
        self._empty = self._pixels.copy()

    def draw(self, agent: Sequence[float], block: np.ndarray) -> np.ndarray:
        """Returns the picture, RGB, `[height, width, 3]` uint8.

        Args:
            agent: position of the disc (px).
            block: corners of the T's boxes, `[2, 4, 2]` (px).
        """
        self._pixels[:] = self._empty
        for box in block:
            corners = _places(box)
            pygame.draw.polygon(self._screen, BLOCK_INSIDE, corners)
            for a, b in zip(corners, corners[1:] + corners[:1], strict=True):
                self._line(BLOCK, a, b)
        [centre] = _places([agent])
        pygame.draw.circle(self._screen, AGENT, centre, RADIUS)
        pygame.draw.circle(self._screen, AGENT_INSIDE, centre, INSIDE)
        for a, b in WALLS:
            self._line(WALL, a, b)
        return np.ascontiguousarray(cv2.resize(self._pixels, self._size)[..., 2::-1])

    def _line(self, colour: Colour, a: Pixel, b: Pixel) -> None:
        """A thick line with round ends."""
        pygame.draw.lines(self._screen, colour, False, [a, b], 2 * LINE)
        across = abs(b[1] - a[1]), abs(b[0] - a[0])
        length = (across[0] * across[0] + across[1] * across[1]) ** 0.5
        x, y = (round(part * (LINE / length)) for part in across)
        sides = [(a[0] - x, a[1] - y), (a[0] + x, a[1] + y), (b[0] + x, b[1] + y), (b[0] - x, b[1] - y)]
        pygame.draw.polygon(self._screen, colour, sides)
        pygame.draw.circle(self._screen, colour, a, LINE)
        pygame.draw.circle(self._screen, colour, b, LINE)


def _places(points: Sequence[Sequence[float]] | np.ndarray) -> list[Pixel]:
    return [(round(x), round(y)) for x, y in np.asarray(points).tolist()]
