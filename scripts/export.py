"""`paradp data export`: writes demonstrations in another program's format."""

from pathlib import Path
from typing import Literal

import tyro

from paradp.policy.wording import counted
from paradp.scripts.console import console, loading, progress
from paradp.scripts.datasets import is_lerobot
from paradp.scripts.extras import check_installed
from paradp.scripts.lists import Words
from paradp.scripts.places import check_new


# Long: its parameters are the command's options, and its docstring is their help.
def export(
    data: tyro.conf.Positional[Path],
    out: Path,
    format: Literal["lerobot"] = "lerobot",
    state: Words = (),
    instruction: str | None = None,
) -> None:
    """Export demonstrations as a LeRobotDataset v3, which LeRobot trains on and `paradp train` reads.

        paradp data export demos/square.zarr --out square_lerobot

    A policy that LeRobot trains on it runs in paradp if you copy the data set's file paradp.yaml beside its weights.

    Args:
        data: the zarr group of demonstrations.
        out: the new folder.
        format: format of the new data set.
        state: observations that become `observation.state`, the others `observation.environment_state`; by default those
            whose names begin like a robot's, such as eef_pos, gripper_qpos, agent_pos.
        instruction: the task in words; by default its name.
    """
    if is_lerobot(data):
        raise ValueError(f"{data} is already a data set of LeRobot")
    check_new(out, "--out")
    check_installed("pyarrow", "PIL")
    with loading("the reader and writer of demonstrations"):
        from paradp.bridges.lerobot_data.writing import export_lerobot
        from paradp.policy.data.dataset import step_count
        from paradp.policy.data.demonstrations import Demonstrations
    demonstrations = Demonstrations.open(data)
    with progress(f"exporting {data.name}", len(demonstrations)) as report:
        report(0)
        columns = export_lerobot(demonstrations, out, state, instruction, report)
    episodes, steps = counted(len(demonstrations), "episode"), counted(step_count(demonstrations), "step")
    console.print(f"{episodes}, {steps} in {out}")
    for key, parts in columns.vectors.items():
        console.print(f"{key}: {', '.join(parts)}")
    for key, name in columns.images.items():
        console.print(f"{key}: {name}")
    if not columns.images and len(columns.vectors) == 2:
        console.print(
            "remark: LeRobot's diffusion policy needs an image or observation.environment_state; name fewer keys in --state"
        )
