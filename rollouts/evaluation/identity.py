"""The identity of an evaluation, stored in `evaluation.json`. An evaluation is only continued with the same identity."""

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
    """The settings that all cells of an evaluation share, and the labels of the cells; `run.json` of a cell has the rest.

    Names and values are those of `evaluation.json`; error messages list differences in this order.

    Attributes:
        task, seed, envs, threads: see `RolloutConfig`; a cell with a measured clock always has a single environment.
        checkpoint: the name of its directory.
        checkpoint_sha256: hash of the whole checkpoint.
        cells: the labels, in order.
    """

    task: str
    checkpoint: str
    checkpoint_sha256: str
    seed: int
    envs: int
    threads: int | None
    cells: tuple[str, ...]


def check_evaluation(out: Path, identity: GridIdentity, episodes: int) -> None:
    """Checks that a directory is empty or contains this evaluation.

    Args:
        out: the directory.
        identity: identity of the evaluation.
        episodes: number of episodes per cell.

    Raises:
        ValueError: the directory contains another evaluation, more episodes, or other files.
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
        raise ValueError(f"{out} holds an evaluation of {counted(held, 'episode')} a cell; their number can only grow")
