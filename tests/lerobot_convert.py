"""Loads the output of `paradp convert --to lerobot` in LeRobot. Runs where LeRobot and paradp are installed together.

python tests/lerobot_convert.py FOLDER            # prints "as paradp's own" at its end
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy
from lerobot.policies.factory import make_pre_post_processors

from paradp.bridges import read_lerobot
from paradp.bridges.to_lerobot import write_lerobot
from paradp.checkpoints import load_policy
from paradp.sampler import NoisePath, SamplerChoice

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "data/lerobot")]
from lerobot_fixtures import FACTS, put_together  # noqa: E402
from make import reference  # noqa: E402

SAMPLERS = {"ddpm": "ddpm-100", "ddpm-10:spacing=leading": "ddpm-10", "ddim-10": "ddim-10"}


def loaded(folder: Path) -> tuple[DiffusionPolicy, Any]:
    """A policy of LeRobot's with its processors; all weights must be there, and no others."""
    policy = DiffusionPolicy.from_pretrained(folder, strict=True)
    return policy, make_pre_post_processors(policy.config, pretrained_path=str(folder))


def check_samples(name: str, folder: Path) -> None:
    """A pretrained policy of ours, converted by the command: LeRobot samples what ours does from the same noise."""
    command = (Path(sys.executable).with_name("paradp"), "convert", name, "--to", "lerobot", "--out", folder)
    subprocess.run(list(map(str, command)), check=True)
    theirs, processors = loaded(folder)
    answer = reference(theirs, theirs.config.input_features, processors, np.random.RandomState(2))
    ours = load_policy(name, "ddpm", engine="eager")
    seen = [torch.cat([answer[f"seen{i}.observation.{key}"] for key in ("state", "environment_state")], 1) for i in range(2)]
    sizes = [one.size for one in ours.spec.observed.values()]
    parts = zip(ours.spec.observed, torch.stack(seen, 1).split(sizes, 2), strict=True)
    condition = ours.condition({key: part.numpy() for key, part in parts})
    largest = answer["condition"].abs().max()
    assert (condition - answer["condition"]).abs().max() < 1e-6 * largest
    worst = 0.0
    for sampler, key in SAMPLERS.items():
        solver = SamplerChoice.parse(sampler).build(ours.spec.schedule)
        steps = answer["steps"][:, : solver.table.steps]
        path = NoisePath(answer["initial"], steps, torch.full(steps.shape[:2], 0.5))
        sample = solver.solve(ours.engine, ours.engine.encode(answer["condition"]), path).sample
        worst = max(worst, float((sample - answer[key]).abs().max()))
    assert worst < 1e-4, worst
    print(name, "samples differ by at most", worst, flush=True)


def check_cameras(name: str, folder: Path) -> None:
    """One of LeRobot's with images, to ours and back: in LeRobot the same weights to the bit, and statistics to rounding."""
    before = put_together(name, folder / "before")
    (after := folder / "after").mkdir()
    write_lerobot(read_lerobot(before, FACTS), after, "# a card")
    (one, sides), (other, other_sides) = loaded(before), loaded(after)
    weights = other.state_dict()
    assert all(torch.equal(tensor, weights[key]) for key, tensor in one.state_dict().items())
    for which, processor in enumerate(sides):
        kept = {key: tensor for step in processor.steps for key, tensor in step.state_dict().items()}
        found = {key: tensor for step in other_sides[which].steps for key, tensor in step.state_dict().items()}
        assert found and all(torch.allclose(kept[key], tensor, 1e-6, 1e-6) for key, tensor in found.items()), name
    print(name, "came back", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    place = Path(sys.argv[1]).resolve()
    for name in ("pusht", "square"):
        check_samples(name, place / name)
    for name in ("shared_encoder", "each_camera", "resnet34"):
        check_cameras(name, place / name)
    print("as paradp's own")
