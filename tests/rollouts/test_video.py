"""Films of any size of frame, and what is said when one cannot be written."""

import resource

import imageio.v3 as iio
import numpy as np
import pytest

from paradp.rollouts.video import Film


def frames(height: int, width: int, count: int) -> np.ndarray:
    """A bright square that wanders over a grey field."""
    made = np.full((count, height, width, 3), 90, np.uint8)
    for i, frame in enumerate(made):
        frame[10:30, 2 * i : 2 * i + 20] = (250, 60, 20)
    return made


@pytest.mark.parametrize(("height", "width"), [(96, 128), (97, 128), (96, 127), (97, 127)])
def test_a_film_shows_what_was_seen(tmp_path, height, width):
    seen, path = frames(height, width, 30), tmp_path / "film.mp4"
    film = Film(path, fps=20)
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
    film, limit = Film(path, fps=20), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
    try:
        with pytest.raises(OSError, match=f"too large.*{path}"):
            for _ in range(300):
                film.add(noise.integers(0, 255, (96, 96, 3)).astype(np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
