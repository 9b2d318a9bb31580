"""Makes new folders whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from paradp.policy.files.lock import OutputLock
from paradp.policy.files.writing import link_target


@contextmanager
def new_folder(out: Path, alone: bool = True) -> Iterator[Path]:
    """Yields a new folder beside `out` to fill, and renames it to `out` at the end; after an error nothing is left.

    Args:
        out: the folder to make.
        alone: lock `out`, and remove what a killed process left there. False where several processes may make the same
            folder, such as a download: the first one to finish makes it, and the others fail with an OSError.

    Raises:
        ValueError: `out` exists already, or another process writes it.
        OSError: the folder cannot be written; the error names `out`. Errors of other files keep their names.
    """
    where = link_target(out)
    partial = where.with_name(f".{where.name}.partial" + f"-{os.getpid()}" * (not alone))
    with OutputLock.beside(out) if alone else nullcontext():
        if alone and where.exists():
            raise ValueError(f"{out} exists; choose another --out or remove it")
        shutil.rmtree(partial, ignore_errors=True)  # of a killed process
        try:
            partial.mkdir(parents=True)
            yield partial
            partial.rename(where)
        except OSError as error:
            if error.errno is None or not (error.filename is None or Path(error.filename).is_relative_to(partial)):
                raise  # an error of the input
            raise OSError(error.errno, error.strerror, str(out)) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
