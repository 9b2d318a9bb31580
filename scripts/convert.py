"""`paradp convert`: converts other programs' checkpoints to paradp's format, and paradp's to LeRobot's."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from paradp.checkpoints.finding import is_theirs
from paradp.scripts.console import doing, loading, say
from paradp.scripts.facts_flags import FactsFlags, given
from paradp.scripts.places import check_new, found
from paradp.scripts.sampler_names import one_sampler

NOTHING = FactsFlags()


# Long: its parameters are the command's options, and its docstring is their help.
def convert(
    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SOURCE")],
    out: Path,
    to: Literal["paradp", "lerobot"] = "paradp",
    sampler: str = "ddpm",
    facts: tyro.conf.OmitArgPrefixes[FactsFlags] = NOTHING,
) -> None:
    """Convert a checkpoint of another program to paradp's format, or any to LeRobot's.

    Facts that the source lacks are given by the options below, or in a file paradp.yaml in its folder.

        paradp convert my_policy --out ours --task pusht --control-hz 10 \\
            --action-low 0 0 --action-high 512 512
        paradp convert square --to lerobot --out square_lerobot

    Args:
        source: the checkpoint's folder or file (of LeRobot, Diffusion Policy or robomimic), a pretrained policy's name, or a
            name on the Hub such as hf:owner/name@revision.
        out: the new folder.
        to: the format of the new checkpoint; lerobot is the format of LeRobot 0.6.
        sampler: with --to lerobot, the sampler for LeRobot itself: ddpm, ddpm-N:spacing=leading or ddim-N.
        facts: facts that the source lacks.
    """
    path, said = found(source), given(facts)
    check_new(out, "--out")
    one_sampler(sampler)
    if to == "paradp":
        if not is_theirs(path):
            raise ValueError(f"{path} is a checkpoint of paradp already; --to lerobot makes LeRobot's of it")
        if sampler != "ddpm":
            raise ValueError("--sampler is for --to lerobot; with paradp's format it is chosen when the policy is loaded")
    with loading("PyTorch, to read the checkpoint"):
        from paradp.checkpoints import load_trained, read_card, save_checkpoint
        from paradp.checkpoints.cards import converted_card
    with doing("converting"):
        observation = None if is_theirs(path) else said.pop("observation", None)
        trained = load_trained(path, said)
        if to == "paradp":
            save_checkpoint(trained, out, converted_card(trained.spec, str(source)))
        else:
            from paradp.bridges.to_lerobot import write_lerobot
            from paradp.policy.files.folders import new_folder

            with new_folder(out) as partial:
                write_lerobot(trained, partial, read_card(path), sampler, observation or said.get("observation"))
    say(f"{source} → {out}, in the format of {'LeRobot' if to == 'lerobot' else 'paradp'}")
