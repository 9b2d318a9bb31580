"""Videos with frames of any size, and the error if one cannot be written."""

import resource
from dataclasses import dataclass
from unittest.mock import MagicMock

import imageio.v3 as iio
import numpy as np
import pytest

from paradp.policy import Replan
from paradp.policy.plan_stats import PlanStats, PlanTiming
from paradp.rollouts.episodes import strips
from paradp.rollouts.episodes.captions import EXECUTED, LEFT, WAITING, Caption, Captions, ChunkStrip, footed, headed
from paradp.rollouts.episodes.directory import steps_table
from paradp.rollouts.episodes.environments import EnvironmentConfig
from paradp.rollouts.episodes.records import Episode, StepRecord
from paradp.rollouts.episodes.video import VideoFile, VideoRecorder, film_of, side_by_side


def frames(height: int, width: int, count: int) -> np.ndarray:
    """A bright square that wanders over a grey field."""
    made = np.full((count, height, width, 3), 90, np.uint8)
    for i, frame in enumerate(made):
        frame[10:30, 2 * i : 2 * i + 20] = (250, 60, 20)
    return made


@pytest.mark.parametrize(("height", "width"), [(96, 128), (97, 128), (96, 127), (97, 127)])
def test_a_film_shows_the_rendered_frames(tmp_path, height, width):
    seen, path = frames(height, width, 30), tmp_path / "film.mp4"
    film = VideoFile(path, fps=20)
    for frame in seen:
        film.add(frame)
    film.close()
    shown, told = iio.imread(path, plugin="pyav"), iio.immeta(path, plugin="pyav")
    assert shown.shape == (30, height + height % 2, width + width % 2, 3)
    assert (told["codec"], told["fps"], told["duration"]) == ("h264", 20, 1.5)
    # H.264 blurs edges; fields stay what they were.
    assert np.median(np.abs(shown[:, :height, :width].astype(int) - seen)) <= 3
    assert (shown[:, 20, 12][0] > (200, 20, 0)).all() and (np.abs(shown[-1, 20, 12].astype(int) - 90) < 10).all()


def test_a_film_that_cannot_be_written_is_named(tmp_path):
    path, noise = tmp_path / "film.mp4", np.random.default_rng(0)
    film, limit = VideoFile(path, fps=20), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
    try:
        with pytest.raises(OSError, match=f"too large.*{path}"):
            for _ in range(300):
                film.add(noise.integers(0, 255, (96, 96, 3)).astype(np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


def step(i: int, lateness: int | None = None, held: bool = False) -> StepRecord:
    """A control step; with a lateness it begins with a plan."""
    replan = None if lateness is None else Replan(PlanStats(PlanTiming(0.05), 1, 16, 116, 0.0, True), lateness)
    return StepRecord(i, 0.0, False, 0.05, replan, (0.0,), held)


def shown(strip: ChunkStrip, records: list[StepRecord]) -> list[tuple[int, int]]:
    """The chunk's first step and the next action, after every step."""
    found = []
    for record in records:
        strip.step(record)
        found.append((strip.begun, strip.next))
    return found


def test_the_strip_follows_the_chunk():
    at_once = [step(0, 0), step(1), step(2, 0)]
    assert shown(ChunkStrip(), at_once) == [(0, 1), (0, 2), (0, 1)]
    # A robot that waited gets the chunk from its first action on.
    waited = [step(0, 2, held=True), step(1, held=True), step(2), step(3)]
    assert shown(ChunkStrip(), waited)[-2:] == [(0, 1), (0, 2)]
    # One that moved along has used up as many of its actions as it executed meanwhile.
    ahead = [step(0, 0), step(1, 2), step(2), step(3), step(4)]
    assert shown(ChunkStrip(), ahead)[-2:] == [(2, 3), (2, 4)]


@pytest.mark.parametrize(("size", "width"), [((512, 512), 512), ((120, 160), 480), ((480, 640), 640)])
def test_captions_leave_the_scene_as_it_is(size, width):
    captions = Captions(Caption("lift", "speculative-ddpm:window=8", 20, 8, 15), seed=7)
    scene = np.random.default_rng(0).integers(60, 200, (*size, 3)).astype(np.uint8)
    drawn = captions.draw(scene, step(0, 0))
    line, factor = round(width / 18), width // size[1]
    assert drawn.shape == (size[0] * factor + 3 * line + line // 2, width, 3)
    assert np.array_equal(drawn[line : line + size[0] * factor], scene.repeat(factor, 0).repeat(factor, 1))
    below = drawn[line + size[0] * factor :]
    filled, outlined = ((below == colour).all(-1).sum() for colour in (EXECUTED, LEFT))
    assert filled > 100 and outlined > 100
    # Text above and below, in a line each.
    for lines in (drawn[:line], below[:line]):
        assert (lines.max(-1) > 200).sum() > 100


def test_waiting_is_shown(tmp_path):
    drawn = Captions(Caption("lift", "ddpm", 20, 8, 15), 0).draw(frames(96, 512, 1)[0], step(0, 4, held=True))
    assert (drawn[-60:] == WAITING).all(-1).sum() > 20


def test_the_last_frame_shows_the_result(tmp_path):
    recorder = VideoRecorder(tmp_path, {3}, 20, Caption("lift", "ddpm", 20, 8, 15))
    records = [step(i, 0 if i % 8 == 0 else None) for i in range(12)]
    for record in records:
        recorder.on_step(3, record, lambda: frames(256, 384, 1)[0])
        recorder.on_step(4, record, lambda: pytest.fail("not filmed"))
    recorder.on_episode(Episode(3, 0.0, False, 0.0, 1.0, records))
    film = film_of(tmp_path, 3)
    assert film is not None and film.name == "3-failure.mp4" and film_of(tmp_path, 4) is None
    told = iio.imread(film, plugin="pyav")
    assert len(told) == 12
    plates = [((frame.astype(int) - (213, 94, 0)).__abs__() < 25).all(-1).sum() for frame in told]
    assert plates[-1] > 1000 and max(plates[:-1]) < 100


def test_films_side_by_side_last_as_long_as_the_longest(tmp_path):
    lengths, films = (8, 3, 5), []
    for i, length in enumerate(lengths):
        film = VideoFile(tmp_path / f"{i}.mp4", fps=20)
        for k in range(length):
            film.add(np.full((64, 96, 3), 20 + 25 * k + 3 * i, np.uint8))
        film.close()
        films.append(tmp_path / f"{i}.mp4")
    side_by_side(films, tmp_path / "all.mp4")
    together = iio.imread(tmp_path / "all.mp4", plugin="pyav")
    assert together.shape == (8, 64, 288, 3) and not list(tmp_path.glob("*.partial.mp4"))
    for i, length in enumerate(lengths):
        pane = together[:, 10:50, 96 * i + 10 : 96 * i + 80].mean((1, 2, 3))
        wanted = [20 + 25 * min(k, length - 1) + 3 * i for k in range(8)]  # a film that has ended holds its last frame
        assert np.abs(pane - wanted).max() < 6
    side_by_side([*films, *films], tmp_path / "six.mp4")
    assert iio.imread(tmp_path / "six.mp4", plugin="pyav").shape == (8, 128, 288, 3)
    with pytest.raises(ValueError, match="there is no film"):
        side_by_side([], tmp_path / "none.mp4")


@dataclass(frozen=True)
class Greys(EnvironmentConfig):
    """A simulator whose frames get brighter with every step."""

    def make(self):
        env = MagicMock()
        env.render.side_effect = lambda: np.full((64, 64, 3), env.step.call_count, np.uint8)
        return env


def test_a_strip_shows_time_duration_and_action(monkeypatch):
    written = []
    monkeypatch.setattr(strips, "footed", lambda picture, words, line: written.append(words) or footed(picture, words, line))
    records = [step(0, 2, held=True), step(1, held=True), *map(step, range(2, 9)), step(9, 0), *map(step, range(10, 16))]
    table = steps_table([Episode(seed, 1.0, True, 0.0, 1.0, records) for seed in (3, 4)])
    strip = strips.film_strip(Greys("square", "absolute"), 4, table, 7)
    assert strip.shape == (strips.HEIGHT + 3 * strips.LINE, 8 * strips.HEIGHT, 3)
    assert written[0] == ["0.1 s", "", "waits for a plan"]  # step 0 of 16
    assert written[3] == ["0.3 s", "plan 50 ms", "action 5 of 7"]  # step 6; the chunk began at step 2
    assert written[4] == ["0.5 s", "plan 50 ms", "action 1 of 7"]  # step 9, with a plan of its own
    assert written[7] == ["0.8 s", "plan 50 ms", "action 7 of 7"]


def test_a_headline_is_above_the_picture_and_fits():
    picture = frames(96, 512, 1)[0]
    drawn = headed(picture, "square · " + 20 * "long-sampler ", "seed 3 · success", 20)
    assert drawn.shape == (116, 512, 3) and (drawn[20:] == picture).all()
    text = (drawn[:20] > 128).all(-1)
    assert text[:, :230].any() and text[:, 400:].any() and not text[:, 235:330].any()  # the long one is shortened
