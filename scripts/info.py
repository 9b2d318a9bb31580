"""`paradp info`: what there is."""

from rich.table import Table

from paradp.checkpoints import find_checkpoint, pretrained, read_card, read_info
from paradp.rollouts.summary import hardware, versions
from paradp.sampler import SAMPLERS, sampler_names
from paradp.scripts.console import console


def info(checkpoint: str | None = None) -> None:
    """List samplers, pretrained policies and versions; or show one checkpoint.

        paradp info
        paradp info --checkpoint square

    Args:
        checkpoint: a pretrained policy's name or a checkpoint's directory: shows its model card.
    """
    if checkpoint is not None:
        path = find_checkpoint(checkpoint)
        read_info(path)
        console.print(read_card(path), markup=False, highlight=False)
        return
    samplers = Table("sampler", "what it is", "options", title="samplers")
    for name, family in zip(sampler_names(), SAMPLERS.values(), strict=True):
        samplers.add_row(name, family.summary, ", ".join(family.options_as_typed))
    console.print(samplers)
    console.print(f"policies: {', '.join(pretrained())}; tasks: see `paradp tasks`")
    console.print(", ".join(f"{k} {v}" for k, v in versions().items()))
    console.print(", ".join(f"{k} {v}" for k, v in hardware().items()))
