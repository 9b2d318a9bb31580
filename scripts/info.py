"""`paradp info`: samplers, policies and versions."""

from typing import Literal

import tyro
from rich.table import Column, Table

from paradp.checkpoints.finding import NOT_INSTALLED, is_theirs, pretrained
from paradp.rollouts.machine import hardware, versions
from paradp.sampler.families import CHOICES, all_samplers, typed
from paradp.scripts.console import console, loading
from paradp.scripts.places import found


def info(what: tyro.conf.Positional[Literal["all", "samplers"]] = "all", checkpoint: str | None = None) -> None:
    """List samplers, pretrained policies and versions, or show one checkpoint.

        paradp info
        paradp info samplers
        paradp info --checkpoint square

    Args:
        what: with `samplers`, only list the samplers with their options.
        checkpoint: show the model card of this pretrained policy, checkpoint directory or name on the Hub
            (hf:owner/name), also of LeRobot's.
    """
    if checkpoint is not None:
        return _show(checkpoint)
    samplers = Table(Column("sampler", no_wrap=True), "what it is", "options", title="samplers")
    for name, family in all_samplers().items():
        samplers.add_row(
            "\n".join(typed(name)), family.summary + "; needs eta > 0" * family.needs_eta, ", ".join(family.options)
        )
    console.print(samplers)
    console.print("An option follows its sampler: para-ddpm:window=8:tolerance=0.1; N is a number of steps: ddim-10.")
    choices = "; ".join(f"{name} is {', '.join(values)}" for name, values in CHOICES.items())
    console.print(f"Options that are a choice: {choices}.")
    console.print("timesteps is the grid itself, from noise to data: ddpm-4:timesteps=99-60-30-5.")
    if what == "samplers":
        return
    console.print(f"policies: {', '.join(pretrained()) or NOT_INSTALLED}; tasks: see `paradp tasks`")
    console.print(", ".join(f"{k} {v}" for k, v in versions().items()))
    console.print(", ".join(f"{k} {v}" for k, v in hardware().items()))


def _show(checkpoint: str) -> None:
    path = found(checkpoint)
    with loading("PyTorch, to check the checkpoint"):
        from paradp.checkpoints import read_card, read_info
    if not (theirs := is_theirs(path)):
        read_info(path)
    console.print(read_card(path), highlight=False)
    if theirs:  # missing facts are reported last
        read_info(path)
