"""Checks and chooses a command's input and output paths, before anything slow is loaded."""

import hashlib
import json
import os
import re
import tempfile
import threading
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from itertools import chain, count
from pathlib import Path

from paradp.checkpoints.finding import NOT_INSTALLED, find_checkpoint, is_on_hub, pretrained, pretrained_folder
from paradp.policy.devices import available, check_devices, check_one
from paradp.rollouts.episodes.identity import sampler_name
from paradp.rollouts.machine import cuda_devices, hardware, versions
from paradp.sampler import SamplerChoice

NO_DISTURBANCE = "none"
# End of a message if there is no scripted expert to provide observations.
INSTEAD = "give demonstrations with --data"
_LONGEST = 60  # length of the readable part of a directory's name


def checkpoint_of(task: str, checkpoint: str | None) -> Path:
    """Returns the given checkpoint, or else the task's pretrained one.

    Raises:
        ValueError: there is no such task or checkpoint, or the task has no pretrained policy; the message contains a remedy.
    """
    from paradp.envs import find_task

    entry = find_task(task)
    if checkpoint is not None:
        return found(checkpoint)
    if task not in pretrained():
        raise ValueError(without_weights(task, entry.expert is not None))
    return find_checkpoint(task)


def found(name: str) -> Path:
    """Like `find_checkpoint`, but shows the progress of a download from the Hub.

    Raises:
        ValueError, OSError: as `find_checkpoint`.
    """
    if not is_on_hub(name):
        return find_checkpoint(name)
    from paradp.bridges.hub import read_name
    from paradp.scripts.console import Phases, say

    read_name(name)
    say(f"asking the Hub for {name} …")
    lock = threading.Lock()  # called from several threads
    with Phases() as phases:

        def report(done: int, total: int) -> None:
            with lock:
                phases.report(f"downloading {name}, in %", 100 * done // total, 100)

        return find_checkpoint(name, report)


def checkpoint_named(name: str) -> Path:
    """Finds a checkpoint by its name or directory, for commands without a task.

    Raises:
        ValueError: it does not exist; if a task has this name, the message contains a remedy.
    """
    if name not in pretrained() and not Path(name).exists():
        from paradp.envs import all_tasks

        if name in (tasks := all_tasks()):
            raise ValueError(without_weights(name, tasks[name].expert is not None))
    return found(name)


def check_simulator(task: str, otherwise: str = "") -> None:
    """Checks that a task's simulator is installed, without importing it.

    Args:
        task: its name.
        otherwise: an alternative, for the end of the message.

    Raises:
        ValueError: there is no such task, or a package is missing; the message names the extra that installs it.
    """
    from paradp.envs import find_task
    from paradp.scripts.extras import what_to_install

    for package in (*find_task(task).task.packages, "gymnasium"):
        module = package.replace("-", "_")
        # For tasks of other packages the names of the modules are unknown.
        if (sentence := what_to_install(module)) and find_spec(module) is None:
            raise ValueError(sentence + f"; {otherwise}" * bool(otherwise))


def without_weights(task: str, expert: bool) -> str:
    """The message for a task without a pretrained policy, or whose policy is not installed."""
    if pretrained_folder() is None:
        return f"no policy of the task {task!r} here, and {NOT_INSTALLED}; or give a checkpoint's directory"
    data = f"demos/{task}.zarr"
    source = f"paradp collect {task}" if expert else f"paradp data import FILE --out {data}"
    but = "" if expert else " and without an expert"
    return (
        f"the task {task!r} comes without weights{but}: get demonstrations (`{source}`), train a policy on them "
        f"(`paradp train {task} --data {data} --out runs/{task}`), and give it with --checkpoint runs/{task}/checkpoint"
    )


def default_out(command: str, task: str, names: Iterable[str], weights: Path, settings: Mapping[str, object]) -> Path:
    """The default output directory, `runs/COMMAND/TASK-NAMES-DIGEST`.

    The digest is a hash of everything else that the results depend on. The same command therefore continues its own run;
    another command, other weights or another installation get another directory.

    Args:
        command: the command.
        task: the task's name.
        names: the compared variants, such as samplers.
        weights: the checkpoint's directory.
        settings: all other arguments that the results depend on.
    """
    from paradp.envs import find_task
    from paradp.policy.files.limits import DOCUMENT_BYTES
    from paradp.policy.files.reading import read_text

    packages = find_task(task).task.packages
    depends_on = {
        **settings,
        "weights": read_text(weights / "config.json", DOCUMENT_BYTES),
        "on": [hardware(), versions(packages)],
    }
    digest = hashlib.sha256(json.dumps([task, *names, depends_on], sort_keys=True, default=str).encode()).hexdigest()[:8]
    readable = re.sub(r"[^\w.+-]+", "_", f"{task}-{'+'.join(names)}")[:_LONGEST]
    return Path("runs") / command / f"{readable}-{digest}"


def check_device(device: str, several: bool = True) -> None:
    """Checks that one or several devices exist, without PyTorch.

    Args:
        device: the text as typed.
        several: whether the command can use several devices.

    Raises:
        ValueError: there is no such device, or several do not fit together; the message lists the existing ones.
    """
    check_devices(device, available(cuda_devices()), "--device")
    if not several:
        check_one(device, "--device")


def check_folder(out: Path, option: str = "--out") -> None:
    """Checks that a directory exists or can be created, and can be written.

    Raises:
        ValueError: it, or a parent, is a file.
        OSError: nothing can be written there.
    """
    place = Path(os.path.realpath(out)) if out.is_symlink() else out  # the target of a link may not exist yet
    for path in (place, *place.parents):
        if path.exists():
            if not path.is_dir():
                raise ValueError(f"{option} {out}: {path} is a file, not a directory; choose another {option}")
            return _check_writable(path, f"{option} {out}")


def _check_writable(folder: Path, what: str) -> None:
    """Tries to write a file without a name, because permissions alone do not show whether a file system is writable."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(error.errno, f"cannot write there ({error.strerror}); choose another place", what) from error


def check_continues(out: Path, marker: str, wanted: Mapping[str, object]) -> None:
    """Compares the identity of a run in a directory with the requested one, as far as possible before loading anything.

    Args:
        out: the directory.
        marker: the file with the identity, such as `run.json`.
        wanted: values by name, and `sampler` as a `SamplerChoice`.

    Raises:
        ValueError: the directory holds something else.
    """
    from paradp.policy.files import refuse_filled

    kind = "run" if marker == "run.json" else "evaluation"
    if not (out / marker).exists():
        return refuse_filled(out, kind)
    from paradp.policy.files.formats import read_document
    from paradp.policy.files.limits import DOCUMENT_BYTES
    from paradp.policy.identity import check_same

    there = read_document(out / marker, DOCUMENT_BYTES)
    here = dict(wanted)
    if isinstance(choice := here.get("sampler"), SamplerChoice):
        used = there.get("sampler")
        same = isinstance(used, dict) and used.get("name") == choice.name
        # Their settings are compared later, because the defaults are known to PyTorch's part only.
        there["sampler"] = choice.name if same or not isinstance(used, dict) else sampler_name(used)
        here["sampler"] = choice.name if same else str(choice)
    check_same(there, here, f"{out} holds another {kind}")


def check_file(path: Path, option: str, ending: str = "") -> None:
    """Checks that a file can be written.

    Args:
        path: the file.
        option: the option that names it.
        ending: how its name must end.

    Raises:
        ValueError: it is a directory, a parent is a file, or its name has another ending.
        OSError: nothing can be written there.
    """
    if path.is_dir():
        raise ValueError(f"{option} {path} is a directory; name a file")
    if path.suffix.lower() != (ending or path.suffix.lower()):
        raise ValueError(f"{option} {path}: name a file that ends in {ending}")
    check_folder((Path(os.path.realpath(path)) if path.is_symlink() else path).parent, option)


def check_new(path: Path, option: str) -> None:
    """Checks that a path does not exist yet.

    Raises:
        ValueError: it exists.
        OSError: nothing can be written there.
    """
    if path.exists():
        raise ValueError(f"{path} exists; choose another {option} or remove it")
    check_folder(path.parent, option)


def unused(path: Path) -> Path:
    """A path that does not exist: itself, or with a number, such as `trace-2.json`."""
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in count(2))
    return next(one for one in chain([path], numbered) if not one.exists())


def disturbance_of(task: str, name: str | None) -> str | None:
    """Checks the name of a disturbance; returns `None` for `none`.

    Raises:
        ValueError: it is unknown, or the task does not have it.
    """
    if name is None or name == NO_DISTURBANCE:
        return None
    from paradp.envs import find_task
    from paradp.envs.disturbances import DISTURBANCES
    from paradp.envs.lookup import find

    find(dict.fromkeys((NO_DISTURBANCE, *DISTURBANCES)), name, "disturbance")
    find_task(task).task.check_disturbance(name)
    return name
