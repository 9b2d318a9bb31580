"""Checkpoints on the Hugging Face Hub, by the names `hf:owner/name` and `hf:owner/name@revision`.

Only files that hold data are downloaded: documents first, and weights when those say that it is a policy. huggingface_hub
keeps them in its own cache, where they are found without a network, too; HF_ENDPOINT and HF_HUB_OFFLINE are its settings.
Its cache holds links, and none is followed out of a checkpoint's folder: each commit gets a folder of ours with its files.
"""

import io
import logging
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from paradp.policy.files.folders import new_folder

PREFIX = "hf:"
_NAME = re.compile(r"hf:(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>\w[\w./-]*))?", re.ASCII)
_DOCUMENTS, _WEIGHTS = ("*.json", "*.yaml", "README.md"), ("*.safetensors",)
_NEEDED = ("config.json", "model.safetensors")
# In one process a name stays the commit that it first was.
_FOUND: dict[str, Path] = {}
# Bytes or files that are there, and all of them.
Report = Callable[[int, int], None]


def downloaded(name: str, check: Callable[[Path], None], report: Report | None = None) -> Path:
    """The folder of a checkpoint on the Hub, downloaded if it is not there yet.

    Args:
        name: `hf:owner/name` or `hf:owner/name@revision`.
        check: raises a ValueError if a folder's documents are not those of a policy; called before weights are downloaded.
        report: takes the progress.

    Raises:
        ValueError: it is no such name, there is no such repository or revision, or it holds no policy.
        OSError: the Hub cannot be reached and nothing is in the cache, or the disk is full.
    """
    if (found := _FOUND.get(name)) is not None and found.is_dir():
        return found
    repo, revision = read_name(name)
    if revision is None or not (place := _place(repo, revision)).is_dir():  # otherwise it is a commit that is here already
        snapshot = _snapshot(name, repo, revision, _DOCUMENTS, None)
        # From here on by the commit: a branch may move meanwhile.
        commit = snapshot.name
        if not (place := _place(repo, commit)).is_dir():
            _fill(place, name, check, snapshot, lambda: _snapshot(name, repo, commit, (*_DOCUMENTS, *_WEIGHTS), report))
    _FOUND[name] = place
    return place


def read_name(name: str) -> tuple[str, str | None]:
    """The repository and the revision that a name says.

    Raises:
        ValueError: it is no such name.
    """
    if not (parts := _NAME.fullmatch(name)):
        raise ValueError(f"{name!r:.200} is no name on the Hub; those are hf:owner/name or hf:owner/name@revision")
    return parts["repo"], parts["revision"]


def _place(repo: str, commit: str) -> Path:
    from paradp.policy.cache import cache_folder  # with PyTorch, which a name that does not exist need not wait for

    return cache_folder() / "hub" / f"{repo}@{commit}".replace("/", "--")


def _fill(place: Path, name: str, check: Callable[[Path], None], documents: Path, download: Callable[[], Path]) -> None:
    try:
        with new_folder(place, alone=False) as partial:
            _link(documents, partial)
            _check(name, check, partial)
            _link(download(), partial)
            _check_complete(name, partial)
    except OSError:
        if not place.is_dir():  # otherwise another process was faster
            raise


def _check(name: str, check: Callable[[Path], None], folder: Path) -> None:
    if not (folder / _NEEDED[0]).is_file():
        raise ValueError(f"{name} holds no policy: it has no {_NEEDED[0]}")
    try:
        check(folder)
    except ValueError as error:
        raise ValueError(f"{name} holds no policy that paradp reads: {str(error).replace(str(folder), name)}") from error


def _check_complete(name: str, folder: Path) -> None:
    if missing := [file for file in _NEEDED if not (folder / file).is_file()]:
        raise ValueError(f"{name} holds no policy: it has no {', '.join(missing)}")


# Long: every way in which it can fail gets a sentence.
def _snapshot(name: str, repo: str, revision: str | None, patterns: Sequence[str], report: Report | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    logger = logging.getLogger("huggingface_hub")  # what it warns of is said here
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        found = snapshot_download(
            repo,
            revision=revision,
            allow_patterns=list(patterns),
            ignore_patterns=["*/*"],  # of a training's other checkpoints
            tqdm_class=_bar(report),
            endpoint=os.environ.get("HF_ENDPOINT"),  # as it is now, and not as it was when huggingface_hub was imported
        )
    except HFValidationError as error:
        raise ValueError(f"{name!r:.200} is no name on the Hub: {_sentence(error)}") from error
    except RevisionNotFoundError as error:
        raise ValueError(f"{repo} has no revision {revision!r} on the Hub") from error
    except GatedRepoError as error:
        raise ValueError(f"{repo} is gated: accept its conditions on the Hub, and log in with `hf auth login`") from error
    except RepositoryNotFoundError as error:
        raise ValueError(f"the Hub has no {repo}; if it is private, log in with `hf auth login`") from error
    except LocalEntryNotFoundError as error:
        raise OSError(f"{name} is not in the cache, and the Hub cannot be reached") from error
    except OSError:
        raise
    except Exception as error:  # of the client for HTTP, of which huggingface_hub's versions have different ones
        raise OSError(f"{name} cannot be downloaded: {_sentence(error)}") from error
    finally:
        logger.setLevel(level)
    return Path(found)


def _sentence(error: Exception) -> str:
    return f"{' '.join(str(error).split()) or type(error).__name__:.200}"


def _link(snapshot: Path, folder: Path) -> None:
    """Puts the files of a snapshot into a folder; they are not stored twice where the file system can do without."""
    for path in snapshot.glob("*"):  # there is no such folder where no file was wanted
        if path.is_file() and not (folder / path.name).exists():
            try:
                os.link(path.resolve(), folder / path.name)
            except OSError:
                shutil.copyfile(path, folder / path.name)


def _bar(report: Report | None) -> Any:
    """What huggingface_hub takes for a progress bar: it shows nothing and reports."""
    from tqdm import tqdm

    units: set[str] = set()

    class Reporting(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any):
            kwargs.pop("name", None)
            super().__init__(*args, **kwargs | {"file": io.StringIO()})
            units.add(self.unit)

        def update(self, n: float | None = 1) -> Any:
            shown = super().update(n)
            # Of files only where there are no bytes, as in older versions.
            if report is not None and self.total and (self.unit == "B" or "B" not in units):
                report(int(self.n), int(self.total))
            return shown

    return Reporting
