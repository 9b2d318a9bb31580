"""The process with LeRobot in the study `loading`: runs in LeRobot's interpreter and answers the study's requests.

Requests and answers are lines of JSON. Needs no part of paradp.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from lerobot.datasets import LeRobotDataset
from lerobot.utils.import_utils import get_safe_default_video_backend
from torch.utils.data import DataLoader

_LOADERS: dict[str, tuple[Any, Any]] = {}


def versions() -> dict[str, str]:
    """Returns the versions of the packages, and the name of the video decoder that LeRobot chooses."""
    packages = {name: version(name) for name in ("lerobot", "torch", "av", "datasets")}
    return packages | {"videos by": get_safe_default_video_backend()}


def video(source: str, out: str) -> None:
    """Converts a data set with PNG images to one with videos, using LeRobot's own writer."""
    read = LeRobotDataset("me/images", root=source)
    counters = ("timestamp", "frame_index", "episode_index", "index", "task_index")
    features = {key: dict(one) for key, one in read.meta.features.items() if key not in counters}
    for one in features.values():
        one["shape"] = tuple(one["shape"])
        if one["dtype"] == "image":
            one["dtype"] = "video"
    shutil.rmtree(out, ignore_errors=True)
    made = LeRobotDataset.create("me/videos", fps=read.meta.fps, features=features, root=out, use_videos=True)
    episode = 0
    for index in range(len(read)):
        frame = read[index]
        if int(frame["episode_index"]) != episode:
            made.save_episode()
            episode += 1
        made.add_frame({key: _as_written(frame[key], one) for key, one in features.items()} | {"task": frame["task"]})
    made.save_episode()
    made.finalize()


def _as_written(value: torch.Tensor, feature: dict[str, Any]) -> np.ndarray:
    if feature["dtype"] != "video":
        return value.numpy().reshape(feature["shape"])
    return (255 * value.permute(1, 2, 0)).round().to(torch.uint8).numpy()


def measure(folder: str, batch: int, workers: int, observe: int, predict: int, seconds: float) -> float:
    """Measures windows per second of LeRobot's data set in PyTorch's loader; the loader continues between calls."""
    key = f"{folder} {workers}"
    if key not in _LOADERS:
        described = LeRobotDataset("me/data", root=folder).meta
        steps = {
            name: [(i + 1 - observe) / described.fps for i in range(predict if name == "action" else observe)]
            for name in described.features
            if name.startswith("observation") or name == "action"
        }
        # The settings of LeRobot's own trainer.
        data = LeRobotDataset("me/data", root=folder, delta_timestamps=steps, return_uint8=True)
        loader = DataLoader(
            data, batch, shuffle=True, num_workers=workers, prefetch_factor=4 if workers else None,
            persistent_workers=workers > 0,
        )  # fmt: skip
        batches = _endless(loader)
        for _ in range(4 * workers + 4):  # what lies ready when the clock starts
            next(batches)
        _LOADERS[key] = loader, batches
    batches, windows, started = _LOADERS[key][1], 0, time.perf_counter()
    while time.perf_counter() < started + seconds:
        windows += len(next(batches)["action"])
    return windows / (time.perf_counter() - started)


def _endless(loader: Any) -> Any:
    while True:
        yield from loader


def main() -> None:
    """Answers requests until the input ends."""
    torch.set_num_threads(1)
    known: dict[str, Callable[..., Any]] = {"versions": versions, "video": video, "measure": measure}
    # Output of libraries must not mix with the answers.
    with os.fdopen(os.dup(1), "w") as answers, redirect_stdout(sys.stderr):
        os.dup2(2, 1)
        for line in sys.stdin:
            asked = json.loads(line)
            answers.write(json.dumps(known[asked.pop("do")](**asked)) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
