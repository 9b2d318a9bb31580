"""Writing files whole."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file so that a reader sees the old content or the new one, even if the process is killed meanwhile.

    A link is followed as `file_place` says.

    Raises:
        OSError: the file cannot be written, such as on a full disk; the old one is kept.
    """
    with written_whole(path) as partial:
        partial.write_bytes(content)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Gives another name beside the file to write to, which takes its place at the end; after an error the old file is kept.

    A link is followed as `file_place` says.

    Raises:
        OSError: what writing raised, in the name of `path`.
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


@contextmanager
def written_folder(path: Path) -> Iterator[Path]:
    """Gives a new folder to fill, which is renamed to `path` at the end; after an error nothing is there.

    Raises:
        OSError: it cannot be made, or something is there already.
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        yield partial
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def file_place(path: Path) -> Path:
    """What is written under the name of a file: for a link the file that it leads to, if that lies in the link's own folder.

    Any other link gives way to the new file, and what it leads to is not touched: a folder from somebody else may hold a
    link to a file of the user's, or to a device.
    """
    place, folder = Path(os.path.realpath(path)), path.parent.resolve()
    ours = place.is_relative_to(folder) and not place.is_symlink() and (place.is_file() or not place.exists())
    return place if ours else folder / path.name


def link_target(path: Path) -> Path:
    """The folder that is written under a name that the user typed: for a link, what it leads to, which need not exist yet.

    Raises:
        OSError: the link leads in a circle.
    """
    place = Path(os.path.realpath(path))
    if place.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return place


@contextmanager
def naming_file(path: Path, unless_named: bool = False) -> Iterator[None]:
    """Names a file in what the system says of it: of a write it says only that the disk is full.

    Args:
        path: the file.
        unless_named: keep the name of another file, where the system gives one.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or (unless_named and error.filename is not None):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def remove_left_overs(folder: Path) -> None:
    """Removes files that killed processes were writing in a folder. Whoever calls it holds the folder's lock."""
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
