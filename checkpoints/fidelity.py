"""Reads the measured fidelity of a checkpoint: in the cache, or otherwise in its directory."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from paradp.checkpoints.finding import pretrained_folder
from paradp.policy.cache import cache_folder
from paradp.policy.engines.autotune.candidates import EXACT, GENERAL_RULE, Candidates, general, within
from paradp.policy.fidelity import FILE, Bounds, Fidelity
from paradp.sampler import SamplerChoice

_LOG = logging.getLogger(__name__)


def cached_file(sha256: str) -> Path:
    """The file for the fidelity of a checkpoint whose directory is read-only.

    Args:
        sha256: its `checkpoint_digest`.
    """
    return cache_folder() / f"{sha256[:24]}-{FILE}"


def candidates_for(choice: SamplerChoice, path: Path, sha256: str, schedule: Mapping[str, Any]) -> Candidates:
    """The candidates of `auto` or `auto-fast` for a checkpoint.

    Args:
        choice: `auto`, or `auto-fast` with its bounds.
        path, sha256, schedule: the checkpoint's directory, its `checkpoint_digest` and noise schedule.

    Raises:
        ValueError: no measured sampler is within the given bounds, or there is no measurement.
    """
    if choice.name != "auto-fast":
        return EXACT
    bounds = Bounds(**dict(choice.options))
    name = path.name if path.parent == pretrained_folder() else path
    try:
        fidelity = _read(path, sha256, schedule)
    except (FileNotFoundError, NotADirectoryError):  # another program's checkpoint may be a file
        why = f"no fidelity is stored for {name}"
    except (ValueError, OSError) as error:
        why = f"its fidelity is not usable: {error}"
    else:
        return within(fidelity, bounds, given=bool(choice.options))
    how = f"`paradp fidelity {name}` measures it"
    if choice.options:
        raise ValueError(f"{choice} needs the fidelity of {name}, {why}: {how}")
    _warn(f"auto-fast goes by the general rule, {GENERAL_RULE}: {why}; {how}")
    return general(why)


@cache
def _warn(message: str) -> None:
    """Logs a message once per process, even if a policy is loaded several times."""
    _LOG.warning(message)


def _read(path: Path, sha256: str, schedule: Mapping[str, Any]) -> Fidelity:
    """The fidelity file in the cache, or if there is none, in the checkpoint's directory.

    The one in the cache is newer: it was measured when the directory could not be written.
    """
    with suppress(FileNotFoundError):
        return Fidelity.read(cached_file(sha256), sha256, schedule)
    return Fidelity.read(path / FILE, sha256, schedule)
