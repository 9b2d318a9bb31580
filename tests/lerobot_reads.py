"""Reads a data set with LeRobot's own class, as its training does. Runs where LeRobot is installed with its extra `dataset`.

python tests/lerobot_reads.py FOLDER OUT.npz
"""

import sys

import numpy as np
from lerobot.datasets import LeRobotDataset


def main(folder: str, out: str) -> None:
    data = LeRobotDataset("me/made", root=folder)
    keys = [key for key in data.features if key.startswith(("observation.", "action"))]
    found = {key: np.stack([data[i][key].numpy() for i in range(len(data))]) for key in keys}
    for key in keys:
        if "images" in key:  # numbers from 0 to 1, channels first
            found[key] = np.round(found[key] * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    # Two observed steps of a window, over the begin of an episode, as a diffusion policy is trained on.
    begin = int(data.meta.episodes["dataset_from_index"][1])
    windows = LeRobotDataset("me/made", root=folder, delta_timestamps={"action": [-1 / data.fps, 0]})[begin]
    np.savez(
        out,
        **found,
        episode_index=np.array([int(data[i]["episode_index"]) for i in range(len(data))]),
        task=np.array([data[0]["task"]]),
        fps=np.array([data.fps]),
        padded=windows["action_is_pad"].numpy(),
        **{f"stats {key} {name}": values for key in keys for name, values in data.meta.stats[key].items()},
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
