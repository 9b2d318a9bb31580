"""Reads policies from a single file written by `torch.save`: Diffusion Policy's `.ckpt` and robomimic's `.pth`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paradp.bridges.diffusion_policy import diffusion_policy_outline, is_diffusion_policy
from paradp.bridges.facts import facts_file, read_facts
from paradp.bridges.outline import Outline
from paradp.bridges.robomimic import is_robomimic, robomimic_outline
from paradp.bridges.torch_file import TorchFile
from paradp.policy.features import Shape
from paradp.policy.learning.lesson import TrainedPolicy
from paradp.policy.networks.vision.config import VisionConfig


def read_diffusion_policy(path: Path | str, facts: Mapping[str, Any] | None = None) -> TrainedPolicy:
    """Reads network and normalisers of a checkpoint of Diffusion Policy (real-stanford) or robomimic.

    Executes no code from it, see `paradp.bridges.pickled`.

    Args:
        path: the file.
        facts: information that it lacks, see `Facts`; facts not given are read from `NAME.paradp.yaml` or `paradp.yaml`
            beside it.

    Raises:
        ValueError: a fact is missing, or the file is damaged, of another kind of policy, or has unsupported settings; the
            message names the reason.
        OSError: it is missing or cannot be read.
    """
    return outline_of(Path(path)).read(read_facts(Path(path), facts))


def outline_of(path: Path) -> Outline:
    """Reads the description of the policy in a file; errors as of `read_diffusion_policy`."""
    file = TorchFile.open(path)
    for found, outline in ((is_diffusion_policy, diffusion_policy_outline), (is_robomimic, robomimic_outline)):
        if found(file.content):
            try:
                return outline(file)
            except ValueError as error:
                raise ValueError(f"{path} cannot be read: {error}") from error
    raise ValueError(f"{path} is not a checkpoint of Diffusion Policy or robomimic, though torch.save wrote it")


def file_card(path: Path) -> str:
    """Writes a model card for a file, as markdown; works without the facts that the file lacks.

    Raises:
        ValueError, OSError: as `read_diffusion_policy`.
    """
    outline = outline_of(path)
    horizons, schedule = outline.horizons, outline.schedule
    noise = f"{schedule['beta_schedule']}, {schedule['num_train_timesteps']} steps, {schedule['prediction_type']}"
    rows = {
        "observation": ", ".join(f"{key} {_size(shape)}" for key, shape in outline.seen.items()),
        "action": f"{outline.actions} numbers",
        "horizons": f"observes {horizons.observe}, predicts {horizons.predict}, executes {horizons.execute}",
        "network": outline.network.describe(),
        "images": _images(outline.vision),
        "noise schedule": noise,
        f"{outline.whose}'s own sampler": outline.sampler,
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"""# {path.name}: diffusion policy of {outline.whose}

| | |
| --- | --- |
{table}

Information that a robot also needs is read from `{facts_file(path).name}` in the same folder: task, control rate, limits of
actions, and the robot's names of the observations.
"""


def _size(shape: Shape) -> str:
    return str(shape) if isinstance(shape, int) else f"{shape[0]} × {shape[1]} pixels"


def _images(vision: VisionConfig | None) -> str:
    if vision is None:
        return "none"
    crop = "" if vision.crop is None else f", cropped to {vision.crop[0]} × {vision.crop[1]}"
    return f"{vision.backbone} with {vision.norm} normalisation, one for each camera{crop}"
