"""Makes the data set beside it with LeRobot's own writer, and `read.npz` with LeRobot's own reader.

    python tests/data/lerobot_dataset/make.py

Needs LeRobot 0.6.1 with what its extra `dataset` brings; it was run with Python 3.12, torch 2.11 and av 15.1. Two cameras,
one whose frames are stored as PNG and one in a video (AV1), in pictures that are not square; a feature of one number;
episodes of several lengths in several files.
"""

import shutil
from pathlib import Path

import numpy as np
from lerobot.datasets import LeRobotDataset

HERE = Path(__file__).parent
FOLDER = HERE / "reach"
HEIGHT, WIDTH = 64, 80  # the encoder takes nothing smaller
LENGTHS = (5, 1, 7, 4)
EVERY = 4  # of the rows and columns of a picture, so much is kept
FEATURES = {
    "observation.state": {"dtype": "float32", "shape": (3,), "names": ["x", "y", "z"]},
    "observation.force": {"dtype": "float64", "shape": (1,), "names": None},
    "observation.images.wrist": {"dtype": "image", "shape": (HEIGHT, WIDTH, 3), "names": ["height", "width", "channels"]},
    "observation.images.top": {"dtype": "video", "shape": (HEIGHT, WIDTH, 3), "names": ["height", "width", "channels"]},
    "action": {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
    "next.reward": {"dtype": "float32", "shape": (1,), "names": None},
}


def picture(step: int, shift: int) -> np.ndarray:
    """A square on a slope: each step, row and column looks different."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    found = np.stack([3 * rows, 2 * columns, np.full_like(rows, 15 * step)], -1)
    found[8 + shift : 24 + shift, 4 * step : 4 * step + 16] = 255
    return found.astype(np.uint8)


def write() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    made = LeRobotDataset.create(
        "me/reach",
        fps=10,
        features=FEATURES,
        root=FOLDER,
        use_videos=True,
        data_files_size_in_mb=0.008,
        video_files_size_in_mb=0.003,
    )
    rng = np.random.default_rng(0)
    for episode, length in enumerate(LENGTHS):
        for step in range(length):
            made.add_frame(
                {
                    "observation.state": rng.uniform(-1, 1, 3).astype(np.float32),
                    "observation.force": rng.uniform(-1, 1, 1),
                    "observation.images.wrist": picture(step, episode),
                    "observation.images.top": picture(step, 3 * episode),
                    "action": rng.uniform(-1, 1, 2).astype(np.float32),
                    "next.reward": np.zeros(1, np.float32),
                    "task": "reach",
                }
            )
        made.save_episode()
    made.finalize()
    shutil.rmtree(FOLDER / "images", ignore_errors=True)


def read() -> None:
    """As training reads it; images come as numbers from 0 to 1, channels first."""
    made = LeRobotDataset("me/reach", root=FOLDER)
    keys = [key for key in FEATURES if key != "next.reward"]
    found = {key: np.stack([made[i][key].numpy() for i in range(len(made))]) for key in keys}
    for key in keys:
        if "images" in key:
            found[key] = np.round(found[key] * 255).astype(np.uint8).transpose(0, 2, 3, 1)[:, ::EVERY, ::EVERY]
    np.savez_compressed(
        HERE / "read.npz", episode_index=np.array([made[i]["episode_index"] for i in range(len(made))]), **found
    )


if __name__ == "__main__":
    write()
    read()
