"""Checkpoints on the Hugging Face Hub, by the names `hf:owner/name` and `hf:owner/name@revision`.

Only data files are downloaded: first the documents, and the weights only if the documents are those of a policy.
huggingface_hub keeps them in its cache, also for use offline; its settings are HF_ENDPOINT and HF_HUB_OFFLINE. That cache
contains links, and we follow no link out of a checkpoint's folder; so each commit gets a folder with the files themselves.
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
# Within one process a name always means the same commit.
_FOUND: dict[str, Path] = {}
# Called with the downloaded and the total number of bytes or files.
Report = Callable[[int, int], None]


def downloaded(name: str, check: Callable[[Path], None], report: Report | None = None) -> Path:
    """Returns the folder of a checkpoint on the Hub; downloads it if necessary.

    Args:
        name: `hf:owner/name` or `hf:owner/name@revision`.
        check: raises ValueError if a folder's documents are not those of a policy; called before weights are downloaded.
        report: called with the progress.

    Raises:
        ValueError: the name has another form, the repository or revision does not exist, or it contains no policy.
        OSError: the Hub cannot be reached and nothing is in the cache, or the disk is full.
    """
    if (found := _FOUND.get(name)) is not None and found.is_dir():
        return found
    repo, revision = read_name(name)
    if revision is None or not (place := _place(repo, revision)).is_dir():  # otherwise the commit is downloaded
        snapshot = _snapshot(name, repo, revision, _DOCUMENTS, None)
        # From here on use the commit, as a branch may move during the download.
        commit = snapshot.name
        if not (place := _place(repo, commit)).is_dir():
            _fill(place, name, check, snapshot, lambda: _snapshot(name, repo, commit, (*_DOCUMENTS, *_WEIGHTS), report))
    _FOUND[name] = place
    return place


def read_name(name: str) -> tuple[str, str | None]:
    """Splits a name into repository and revision.

    Raises:
        ValueError: the name has another form.
    """
    if not (parts := _NAME.fullmatch(name)):
        raise ValueError(f"{name!r:.200} is not a name on the Hub; names are hf:owner/name or hf:owner/name@revision")
    return parts["repo"], parts["revision"]


def _place(repo: str, commit: str) -> Path:
    from paradp.policy.cache import cache_folder  # imports PyTorch, which an error in the name should not wait for

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


# Long: each kind of failure has its own message.
def _snapshot(name: str, repo: str, revision: str | None, patterns: Sequence[str], report: Report | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    logger = logging.getLogger("huggingface_hub")  # its warnings are replaced by our messages
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        found = snapshot_download(
            repo,
            revision=revision,
            allow_patterns=list(patterns),
            ignore_patterns=["*/*"],  # other checkpoints of the same training
            tqdm_class=_bar(report),
            endpoint=os.environ.get("HF_ENDPOINT"),  # the current value, not the one at the import of huggingface_hub
        )
    except HFValidationError as error:
        raise ValueError(f"{name!r:.200} is not a name on the Hub: {_sentence(error)}") from error
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
    except Exception as error:  # from the HTTP client, which differs between versions of huggingface_hub
        raise OSError(f"{name} cannot be downloaded: {_sentence(error)}") from error
    finally:
        logger.setLevel(level)
    return Path(found)


def _sentence(error: Exception) -> str:
    return f"{' '.join(str(error).split()) or type(error).__name__:.200}"


def _link(snapshot: Path, folder: Path) -> None:
    """Puts the files of a snapshot into a folder, as hard links where the file system supports them."""
    for path in snapshot.glob("*"):  # the folder does not exist if no file matched
        if path.is_file() and not (folder / path.name).exists():
            try:
                os.link(path.resolve(), folder / path.name)
            except OSError:
                shutil.copyfile(path, folder / path.name)


def _bar(report: Report | None) -> Any:
    """A progress bar for huggingface_hub that prints nothing and calls `report` instead."""
    from tqdm import tqdm

    units: set[str] = set()

    class Reporting(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any):
            kwargs.pop("name", None)
            super().__init__(*args, **kwargs | {"file": io.StringIO()})
            units.add(self.unit)

        def update(self, n: float | None = 1) -> Any:
            shown = super().update(n)
            # Older versions count no bytes; then count files.
            if report is not None and self.total and (self.unit == "B" or "B" not in units):
                report(int(self.n), int(self.total))
            return shown

    return Reporting
