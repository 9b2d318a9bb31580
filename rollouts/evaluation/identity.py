"""What an evaluation is of. `evaluation.json` holds it, and an evaluation is only continued as itself."""

from dataclasses import dataclass
from pathlib import Path

from paradp.policy.files import refuse_filled
from paradp.policy.files.formats import read_document
from paradp.policy.files.limits import DOCUMENT_BYTES
from paradp.policy.identity import check_same, describe
from paradp.policy.wording import counted

MARKER = "evaluation.json"


@dataclass(frozen=True)
class GridIdentity:
    """What all cells of an evaluation have in common, and which they are; each cell's `run.json` says the rest.

    Names and values are those of `evaluation.json`; differences are told in this order.

    Attributes:
        task, seed, envs, threads: see `RolloutConfig`; a cell with a measured clock has an environment alone.
        checkpoint: the name of its directory.
        checkpoint_sha256: content of the whole checkpoint.
        cells: their labels, in order.
    """

    task: str
    checkpoint: str
    checkpoint_sha256: str
    seed: int
    envs: int
    threads: int | None
    cells: tuple[str, ...]


def check_evaluation(out: Path, identity: GridIdentity, episodes: int) -> None:
    """Checks that a directory is free, or holds this evaluation.

    Args:
        out: the directory.
        identity: of the evaluation.
        episodes: of every cell.

    Raises:
        ValueError: it holds another evaluation, more episodes, or something else.
    """
    marker = out / MARKER
    if not marker.exists():
        refuse_filled(out, "evaluation")
        return
    there = read_document(marker, DOCUMENT_BYTES)
    check_same(there, describe(identity), f"{out} holds another evaluation")
    if type(held := there.get("episodes", 0)) is not int:
        raise ValueError(f"{marker} cannot be read: episodes should be a number, not {held!r:.40}")
    if held > episodes:
        raise ValueError(f"{out} holds an evaluation of {counted(held, 'episode')} a cell; they can only become more")
