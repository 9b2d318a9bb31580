"""Finds checkpoints by name or directory. Needs no PyTorch, so that a wrong name is reported at once."""

import os
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path

from paradp.sampler.lookup import unknown

IN_TREE = Path(__file__).parent / "pretrained"  # of a checkout; the wheel of paradp has no such folder
NOT_INSTALLED = "the pretrained policies are not installed: in a clone of paradp, pip install ./checkpoints/pretrained"
# File suffixes of Diffusion Policy's and of robomimic's checkpoints.
SINGLE_FILES = (".ckpt", ".pth")
FILES = ("config.json", "model.safetensors", "statistics.json", "README.md")
_WEIGHTS = "model.safetensors"
# File names and suffixes of other programs' checkpoints.
_OTHERS = (".ckpt", ".pt", ".pth", ".bin", ".pkl", ".safetensors", ".onnx", ".zip")


def find_checkpoint(name_or_path: str | Path, report: Callable[[int, int], None] | None = None) -> Path:
    """The directory of a checkpoint.

    A diffusion policy of LeRobot is one, too, as its `save_pretrained` wrote it, and so is a file of Diffusion Policy or
    robomimic.

    Args:
        name_or_path: a pretrained policy's name, a directory, or a name on the Hub, such as `hf:owner/name@revision`, which
            is downloaded.
        report: called with the progress of a download: the downloaded and the total number.

    Raises:
        ValueError: it is neither a directory nor the name of a pretrained policy, or it is another program's checkpoint; the
            message says which.
        OSError: the Hub cannot be reached.
    """
    if is_on_hub(name_or_path):
        from paradp.bridges.hub import downloaded

        return downloaded(str(name_or_path), _check_documents, report)
    folder = pretrained_folder()
    names = _names(folder)
    path = Path(name_or_path)
    put_back(path)
    # The name of a pretrained policy wins over a folder of that name; ./square, or a Path, means the folder.
    if folder and str(name_or_path) in names and (isinstance(name_or_path, str) or not path.is_dir()):
        return folder / str(name_or_path)
    if path.is_dir():
        if not is_theirs(path):
            check_ours(path)
        return path
    if path.is_file() and is_theirs(path):
        return path
    if path.is_file():
        raise ValueError(f"{path} is {_describe_file(path)}; a checkpoint of paradp is a directory made by `paradp train`")
    if folder is None:
        raise ValueError(f"no checkpoint {str(name_or_path)!r} here, and {NOT_INSTALLED}; or give a checkpoint's directory")
    said = unknown("no checkpoint", str(name_or_path), names, "Pretrained")
    raise ValueError(said.removesuffix(".") + "; or give a directory.")


def is_on_hub(name_or_path: str | Path) -> bool:
    """Whether it is a name on the Hub."""
    return str(name_or_path).startswith("hf:")


def _check_documents(path: Path) -> None:
    """Checks a directory's documents before its weights are downloaded.

    Raises:
        ValueError: it is not a checkpoint.
    """
    if not is_theirs(path) and (missing := [name for name in FILES if name != _WEIGHTS and not (path / name).is_file()]):
        raise ValueError(_whose(path) or f"it lacks {', '.join(missing)}")


def find_own(name_or_path: str | Path) -> Path:
    """Like `find_checkpoint`, but refuses checkpoints of other programs, for training and releasing.

    Raises:
        ValueError: as `find_checkpoint`, or it is another program's checkpoint.
    """
    path = find_checkpoint(name_or_path)
    if is_theirs(path):
        convert = f"convert it first: paradp convert {path} --out FOLDER"
        raise ValueError(f"{path} is a policy of {_program(path)}; this takes checkpoints of paradp only: {convert}")
    return path


def pretrained() -> list[str]:
    """Names of the pretrained policies in the checkout or the installed package; empty without either."""
    return _names(pretrained_folder())


def pretrained_folder() -> Path | None:
    """The folder of the pretrained policies: in a checkout, else in the package `paradp-weights`; `None` without either.

    Policies of a checkout and of an installed package are never mixed, as their versions may differ.
    """
    return next((folder for folder in (IN_TREE, *_installed()) if _names(folder)), None)


def _names(folder: Path | None) -> list[str]:
    return [] if folder is None else sorted(path.parent.name for path in folder.glob("*/config.json"))


def _installed() -> Iterable[Path]:
    """The folders of the package `paradp_weights`, found without importing it."""
    spec = find_spec("paradp_weights")
    return map(Path, (spec and spec.submodule_search_locations) or ())


def old_name(path: Path) -> Path:
    """The temporary name of a checkpoint while it is replaced."""
    return path.with_name(f".{path.name}.old")


def put_back(path: Path) -> None:
    """Restores a checkpoint that a killed process has left under its temporary name.

    Raises:
        OSError: the directory cannot be written.
    """
    if path.name in ("", "..") or os.path.lexists(path):
        return
    old = old_name(path)
    if all((old / name).is_file() for name in FILES):
        try:
            old.rename(path)
        except OSError as error:
            # The save has finished, or another process has restored it: either way it has its name again.
            if not path.is_dir():
                problem = f"a save was interrupted; rename {old} to it ({error.strerror})"
                raise OSError(error.errno, problem, str(path)) from error


def is_theirs(path: Path) -> bool:
    """Whether a directory or a file is a checkpoint of another program that `paradp.bridges` reads.

    Raises:
        ValueError: it is another program's policy of an unsupported type, or its `config.json` is damaged.
    """
    if path.is_file():
        return path.suffix in SINGLE_FILES and _begins_as_zip(path)
    if (path / FILES[2]).is_file() or not _is_lerobot(path / "config.json"):
        return False
    from paradp.bridges.lerobot_config import read_config  # imports pydantic, which finding a name does not need

    read_config(path)
    return True


def check_ours(path: Path) -> None:
    """Checks that a directory contains the files of a checkpoint, by their names.

    Raises:
        ValueError: files are missing; the message names them, or the program whose checkpoint it is.
    """
    put_back(path)
    missing = [name for name in FILES if not (path / name).is_file()]
    if not missing:
        return
    if (path / "checkpoint" / "config.json").is_file():
        raise ValueError(f"{path} is the directory of a training; its checkpoint is {path}/checkpoint")
    if (path / "pretrained_model" / "config.json").is_file():
        raise ValueError(f"{path} is of a training of LeRobot; its checkpoint is {path}/pretrained_model")
    if files := sorted((*path.glob("*.ckpt"), *path.glob("checkpoints/*.ckpt"), *path.glob("models/*.pth"))):
        raise ValueError(f"{path} is the directory of another program's training; its checkpoints are files, as {files[-1]}")
    if whose := _whose(path):
        raise ValueError(f"{path} is {whose}; paradp cannot read it, only checkpoints made by `paradp train`")
    raise ValueError(f"the checkpoint {path} lacks {', '.join(missing)}")


def _whose(path: Path) -> str:
    """The name of the other program whose checkpoint a directory contains."""
    if (path / "pretrained_model").is_dir() or (path / "train_config.json").is_file():
        return "of a training of LeRobot"
    if (path / "model_index.json").is_file():
        return "a pipeline of diffusers"
    if (path / "meta" / "info.json").is_file():
        return "a data set of LeRobot, not a policy"
    if (path / "zarr.json").is_file() or (path / ".zgroup").is_file():
        return "a store of demonstrations, not a policy"
    return ""


def _is_lerobot(config: Path) -> bool:
    if not config.is_file():
        return False
    with config.open("rb") as file:
        head = file.read(100_000)
    theirs = (b'"input_features"', b'"n_obs_steps"', b'"input_shapes"', b'"type"')
    return b'"spec"' not in head and any(key in head for key in theirs)


def _begins_as_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\3\4"


def _program(path: Path) -> str:
    return "LeRobot" if path.is_dir() else "Diffusion Policy or robomimic"


def _describe_file(path: Path) -> str:
    if path.suffix in SINGLE_FILES:
        return "not a file that torch.save wrote since PyTorch 1.6, as checkpoints of Diffusion Policy and robomimic are"
    if path.suffix in _OTHERS:
        return "a file of weights from another program, which paradp cannot read"
    return "a file"
