"""The commands `paradp data …` for data sets of LeRobot."""

from pathlib import Path

import numpy as np

from paradp.scripts.console import console, loading


def look(folder: Path) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, int] | None, float]:
    """Returns the ends of the episodes, all arrays, the parts of an action if known, and the frames per second.

    Prints a description of the data set, and the facts that are missing for training.
    """
    with loading("the reader of LeRobot's data sets"):
        from paradp.bridges.facts import FILE, read_facts
        from paradp.bridges.lerobot_data.frames import LeRobotFrames
        from paradp.bridges.lerobot_data.remarks import remarks
    facts = read_facts(folder)
    frames = LeRobotFrames.open(folder, facts)
    kinds = ", ".join(f"{key} ({feature.kind})" for key, feature in frames.described.features.items())
    console.print(f"{folder}: LeRobotDataset v3, {frames.described.fps} frames a second; {kinds}")
    for remark in remarks(frames):
        console.print(f"remark: {remark}")
    if lacking := facts.lacking():
        console.print(f"before training, {folder / FILE} must say its {', '.join(lacking)}")
    return frames.episode_ends, {**frames.observations(), "action": frames.actions()}, facts.action, frames.described.fps
