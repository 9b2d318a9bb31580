"""Captions on the frames of a video: the sampler, the last plan's latency, and the progress of its chunk."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from paradp.policy import Replan
from paradp.policy.wording import counted
from paradp.rollouts.episodes.records import StepRecord

# Narrower frames are enlarged by a whole factor, so that the text fits.
LEAST_WIDTH = 384
BACKGROUND, TEXT, FAINT = (24, 26, 30), (240, 240, 240), (110, 114, 122)
EXECUTED, LEFT, WAITING = (0, 158, 115), (86, 180, 233), (230, 159, 0)
WAITS = "waits for a plan"
ENDINGS = {True: ("success", (0, 158, 115)), False: ("failure", (213, 94, 0))}


@dataclass(frozen=True)
class Caption:
    """The settings of a caption that are the same in all frames of a video.

    Attributes:
        task: the task's name.
        sampler: as typed; empty for a controller without plans.
        control_hz: control steps per second.
        execute, planned: Ta, the executed actions of a chunk, and all its actions; without them no chunk is drawn.
    """

    task: str = ""
    sampler: str = ""
    control_hz: int = 20
    execute: int = 0
    planned: int = 0


class ChunkStrip:
    """The position in the current chunk, counted from control steps as in `paradp.policy.control.chunks`."""

    def __init__(self) -> None:
        self.replan: Replan | None = None
        self.begun = self.next = 0
        self._coming: tuple[Replan, int, int] | None = None
        self._consumed = 0

    def step(self, record: StepRecord) -> None:
        """Advances by a control step."""
        if record.replan is not None:
            self._coming = record.replan, record.step + record.replan.lateness, self._consumed
        if self._coming is not None and record.step >= self._coming[1]:
            self.replan, _, asked_at = self._coming
            # Actions between the plan's observation and now are in the past.
            self.begun = self.next = self._consumed - asked_at
            self._coming = None
        if not record.held:
            self._consumed += 1
            self.next += 1


class Captions:
    """Draws the captions of one episode.

    Args:
        caption: the settings.
        seed: seed of the episode.
    """

    def __init__(self, caption: Caption, seed: int):
        self._caption = caption
        self._seed = seed
        self._strip = ChunkStrip()

    def draw(self, frame: np.ndarray, record: StepRecord) -> np.ndarray:
        """Returns the frame `[height, width, 3]` of a control step, with a line of text above and two below."""
        self._strip.step(record)
        scale = -(-LEAST_WIDTH // frame.shape[1])
        frame = frame.repeat(scale, 0).repeat(scale, 1)
        height, width = frame.shape[:2]
        line = round(width / 18)
        picture = Image.new("RGB", (width, height + 3 * line + line // 2), BACKGROUND)
        picture.paste(Image.fromarray(frame), (0, line))
        pen = _Pen(picture, line)
        who = " · ".join(text for text in (self._caption.task, self._caption.sampler) if text)
        pen.write(who, 0, left=True, room=0.78)
        pen.write(f"seed {self._seed}", 0, left=False)
        below = line + height
        seconds = (record.step + 1) / self._caption.control_hz
        pen.write(f"step {record.step + 1} · {seconds:.1f} s", below, left=True)
        if self._strip.replan is not None:
            stats, lateness = self._strip.replan.stats, self._strip.replan.lateness
            late = f" · {counted(lateness, 'step')} late" if lateness else ""
            took = f"{1000 * stats.timing.seconds:.0f} ms · {counted(stats.rounds, 'round')}"
            pen.write(f"last plan {took}{late}", below, left=False)
        done = self._strip.next - self._strip.begun
        note = WAITS if record.held else f"chunk: {done} of {self._caption.execute}" if done else ""
        pen.chunk(list(self._boxes()), note, below + line, record.held)
        return np.asarray(picture)

    def end(self, frame: np.ndarray, success: bool) -> np.ndarray:
        """Returns the last frame made by `draw`, with the outcome of the episode."""
        picture = Image.fromarray(frame)
        text, colour = ENDINGS[success]
        _Pen(picture, round(picture.width / 18)).stamp(text, colour)
        return np.asarray(picture)

    def _boxes(self) -> Iterator[str]:
        """Returns the state of each action of the chunk: past on arrival, executed, remaining, or not to be executed."""
        strip, execute = self._strip, self._caption.execute
        if strip.replan is None:
            return
        for i in range(self._caption.planned):
            if i < strip.begun:
                yield "past"
            elif i < strip.next:
                yield "executed"
            else:
                yield "left" if i < strip.begun + execute else "beyond"


def headed(picture: np.ndarray, left: str, right: str, line: int) -> np.ndarray:
    """Returns the picture below a line of text of the given height in pixels."""
    height, width = picture.shape[:2]
    whole = Image.new("RGB", (width, height + line), BACKGROUND)
    whole.paste(Image.fromarray(picture), (0, line))
    pen = _Pen(whole, line)
    pen.write(left, 0, left=True, room=0.45)
    pen.write(right, 0, left=False, room=0.55)
    return np.asarray(whole)


def footed(picture: np.ndarray, lines: Sequence[str], line: int) -> np.ndarray:
    """Returns the picture above lines of text, each of the given height in pixels."""
    height, width = picture.shape[:2]
    whole = Image.new("RGB", (width, height + line * len(lines)), BACKGROUND)
    whole.paste(Image.fromarray(picture))
    for i, text in enumerate(lines):
        _Pen(whole, line).write(text, height + i * line, left=True)
    return np.asarray(whole)


class _Pen:
    """Draws into a picture in lines of a given height."""

    def __init__(self, picture: Image.Image, line: int):
        self._draw = ImageDraw.Draw(picture)
        self._width, self._height, self._line = picture.width, picture.height, line
        self._margin = line // 3

    def write(self, text: str, top: int, left: bool, room: float = 1.0) -> None:
        """Writes one line of text, shortened to a share of the width."""
        font = ImageFont.load_default(size=0.62 * self._line)
        while len(text) > 4 and font.getlength(text) > room * self._width - 2 * self._margin:
            text = text[:-2].rstrip("…") + "…"
        x = self._margin if left else self._width - self._margin
        self._draw.text((x, top + self._line / 2), text, TEXT, font, anchor="lm" if left else "rm")

    def chunk(self, boxes: list[str], note: str, top: int, held: bool) -> None:
        """Draws a box for each action of the chunk; executed ones are filled."""
        font = ImageFont.load_default(size=0.5 * self._line)
        self._draw.text((self._margin, top + 0.6 * self._line), note, WAITING if held else TEXT, font, anchor="lm")
        begin = self._margin + font.getlength(WAITS) + self._margin
        size = min((self._width - self._margin - begin) / max(len(boxes), 1), 1.6 * self._line)
        for i, kind in enumerate(boxes):
            x0, y0 = begin + i * size, top + 0.2 * self._line
            area = (x0 + 1, y0, x0 + size - 2, y0 + 0.8 * self._line)
            if kind == "executed":
                self._draw.rectangle(area, EXECUTED)
            elif kind == "left":
                self._draw.rectangle(area, None, LEFT, max(1, self._line // 14))
            else:
                self._draw.line((area[0], area[3], area[2], area[3]), FAINT, max(1, self._line // 14))

    def stamp(self, text: str, colour: tuple[int, int, int]) -> None:
        """Writes a word in a coloured box at the picture's upper edge."""
        font = ImageFont.load_default(size=1.2 * self._line)
        half, middle = font.getlength(text) / 2 + self._line / 2, self._width / 2
        self._draw.rectangle((middle - half, 1.4 * self._line, middle + half, 3.2 * self._line), colour)
        self._draw.text((middle, 2.3 * self._line), text, (255, 255, 255), font, anchor="mm")
