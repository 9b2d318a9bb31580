"""`paradp data inspect`: oddities of images are named, film strips show the frames, and images are read a part at a time."""

import numpy as np
import pytest
from lerobot_data_fixtures import INFO
from PIL import Image

from paradp.policy.data import image_defects
from paradp.policy.data.demonstrations import Demonstrations
from paradp.policy.data.episode import DemonstrationEpisode
from paradp.policy.data.image_defects import image_remarks, look_at, time_remarks
from paradp.scripts.film_strips import FRAMES, HEIGHT, LINE, SPACE, draw_film_strips
from paradp.scripts.main import main

ENDS = [20, 21, 50]


class Camera:
    """Images in memory that record every request."""

    def __init__(self, images: np.ndarray):
        self.images, self.shapes, self.asked = images, {"camera": images.shape[1:]}, []

    def fill(self, begin, end, out):
        self.asked.append(end - begin)
        out["camera"][:] = self.images[begin:end]

    def close(self):
        pass


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (ENDS[-1], 6, 8, 3), np.uint8)


MOVING = {"hand": np.arange(ENDS[-1], dtype=np.float32)[:, None]}


def remarks(images: np.ndarray, vectors=MOVING, hz: float | None = 20) -> list[str]:
    return list(image_remarks(look_at(Camera(images), vectors, ENDS), ENDS, hz))


def test_valid_images_have_no_remarks(images):
    assert not remarks(images)
    look = look_at(Camera(images), MOVING, ENDS)["camera"]
    assert (look.least, look.most) == (images.min(), images.max()) and look.mean == pytest.approx(images.mean())


def test_black_frames_and_a_frozen_camera_are_named(images):
    images[3] = 0
    images[21:] = images[21]
    assert remarks(images) == ["camera: 1 of 50 frames are black", "camera: the camera stands still in 1 of 3 episodes"]


def test_dropped_frames_are_named_where_the_robot_moves(images):
    images[7] = images[6]
    images[31:34] = images[30]
    [said] = remarks(images)
    assert said == (
        "camera: dropped frames: 4 pictures are those of the step before, though the robot moves; the most in a row, 3, in"
        " episode 2 from step 10 on"
    )
    still = {"hand": MOVING["hand"].copy()}
    still["hand"][7] = still["hand"][6]
    still["hand"][31:34] = still["hand"][30]
    assert not remarks(images, still)


def test_a_wrong_rate_is_named(images):
    """A camera with ten images per second in data with twenty steps per second."""
    images[1::2] = images[0:-1:2]
    [said] = remarks(images)
    assert said.startswith("camera: a wrong rate: the picture changes in ") and said.endswith("and not 20")
    assert 9 < float(said.partition("about ")[2].partition(" ")[0]) < 11
    assert "pictures a second" not in remarks(images, hz=None)[0]


def test_recorded_times_are_compared_with_the_rate():
    times = np.concatenate([np.arange(20), np.arange(1), np.arange(29)]) / 10
    assert not list(time_remarks(times, ENDS, 10))
    assert list(time_remarks(times, ENDS, 20)) == ["timestamp: 10.0 steps a second, and not 20"]
    times[30:50] += 0.3
    [said] = time_remarks(times, ENDS, 10)
    assert said.startswith(
        "timestamp: dropped frames: 1 step took more than 1.5 times as long as usual, the first in episode 2"
    )
    assert said.endswith("after step 8")


def test_only_a_part_of_the_images_is_in_memory(images, monkeypatch):
    monkeypatch.setattr(image_defects, "_PIECE_BYTES", 5 * 6 * 8 * 3)
    images[31:34] = images[30]
    camera = Camera(images)
    found = look_at(camera, MOVING, ENDS)["camera"]
    assert max(camera.asked) == 5 and [step for _, step in found.repeated] == [10, 11, 12]


def test_a_film_strip_shows_frames_in_temporal_order(images, tmp_path):
    for step, image in enumerate(images):
        image[:] = 4 * step
    [path] = draw_film_strips(Camera(images), ENDS, tmp_path / "strips", 3, 10.0)
    assert path == tmp_path / "strips/camera.png"
    sheet = np.asarray(Image.open(path))
    row, width = HEIGHT + 2 * LINE, round(8 * HEIGHT / 6)
    assert sheet.shape == (LINE + 3 * row, SPACE + FRAMES * (width + SPACE), 3)
    middle = LINE + LINE + HEIGHT // 2
    shown = sheet[middle::row, SPACE + width // 2 :: width + SPACE, 0]
    assert list(shown[0]) == [4 * round(step) for step in np.linspace(0, 19, FRAMES)]
    assert list(shown[1]) == [80] + [255] * (FRAMES - 1)
    assert list(shown[2]) == [84 + 4 * round(step) for step in np.linspace(0, 28, FRAMES)]


def test_the_command_prints_remarks_and_draws(tmp_path, monkeypatch, capsys, images):
    there = Demonstrations.open_or_create(tmp_path / "demos.zarr", INFO)
    pictures = np.random.default_rng(1).integers(1, 256, (12, 20, 24, 3), np.uint8)
    pictures[5:8] = pictures[4]
    observed = {
        key: np.cumsum(np.ones((12, size), np.float32), 0) for key, size in INFO.observation.items() if key != "camera"
    }
    there.append(DemonstrationEpisode({**observed, "camera": pictures}, np.zeros((12, 3)), np.zeros((12, 3)), 0))
    there.close()
    monkeypatch.setattr(Demonstrations, "observations", lambda self: pytest.fail("all images were read at once"))
    monkeypatch.setattr(
        "sys.argv", ["paradp", "data", "inspect", str(tmp_path / "demos.zarr"), "--film", str(tmp_path / "strips")]
    )
    main()
    said = " ".join(capsys.readouterr().out.split())
    assert "remark: camera: dropped frames: 3 pictures" in said and "image of 20 × 24 × 3" in said
    assert (tmp_path / "strips/camera.png").is_file()
