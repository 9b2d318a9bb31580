"""Writes files atomically."""

import contextlib
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file atomically: a reader gets the old content or the new one, even if the process is killed meanwhile.

    For links see `file_place`.

    Raises:
        OSError: the file cannot be written, for example on a full disk; the old one is kept.
    """
    with written_whole(path) as partial:
        partial.write_bytes(content)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside the file, and renames it to the file at the end; after an error the old file is kept.

    For links see `file_place`.

    Raises:
        OSError: the error of the write, with `path` as its file name.
    """
    with naming_file(path):
        place = file_place(path)
        partial = place.with_name(f".{place.name}.partial-{os.getpid()}")
        try:
            yield partial
            partial.replace(place)
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)


def file_place(path: Path) -> Path:
    """The path to write: for a link its target, if that is in the link's own folder.

    Any other link is replaced by the new file, and its target is not touched: a folder from somebody else may contain a link
    to one of the user's files, or to a device.
    """
    place, folder = Path(os.path.realpath(path)), path.parent.resolve()
    ours = place.is_relative_to(folder) and not place.is_symlink() and (place.is_file() or not place.exists())
    return place if ours else folder / path.name


def link_target(path: Path) -> Path:
    """The folder to write for a path that the user typed: for a link its target, which need not exist yet.

    Raises:
        OSError: the links form a circle.
    """
    place = Path(os.path.realpath(path))
    if place.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return place


@contextmanager
def naming_file(path: Path, unless_named: bool = False) -> Iterator[None]:
    """Adds a file name to system errors: a failed write reports only that the disk is full, not which file it was.

    Args:
        path: the file.
        unless_named: keep a name that the error has already.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or (unless_named and error.filename is not None):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def remove_left_overs(folder: Path) -> None:
    """Removes temporary files that killed processes left in a folder. The caller must hold the folder's lock."""
    for path in folder.glob(".*.partial-*"):
        process = path.name.rpartition("-")[2]
        if process.isdecimal() and not _runs(int(process)):
            with contextlib.suppress(OSError):
                path.unlink()


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
