"""Facts about a policy that a robot needs and that other programs' checkpoints lack. They are given, never guessed."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import ClassVar, TypedDict

FILE = "paradp.yaml"
# LeRobot does not record what the actions of a data set mean.
AS_RECORDED = "as recorded"


class Given(TypedDict, total=False):
    """Facts as keyword arguments, see `Facts`."""

    task: str
    control_hz: int
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    action_convention: str
    controller: dict[str, float]
    observation: dict[str, str | dict[str, int]]
    action: dict[str, int]
    action_step: tuple[float, ...]


class MissingFacts(ValueError):
    """Required facts are missing.

    Args:
        source: the checkpoint or data set.
        missing: their names.
        example: a condition, and the lines of the file of facts that hold under it; by default lines with placeholders that
            cannot be read as values.
        size: length of an action.
        otherwise: another way to give them, for the end of the message.
    """

    def __init__(
        self,
        source: Path,
        missing: Sequence[str],
        size: int,
        otherwise: str = "",
        example: tuple[str, Sequence[str]] | None = None,
    ):
        self.source, self.missing, self.size, self.otherwise = source, missing, size, otherwise
        form = {
            "task": "[name]",
            "control_hz": "[number]",
            "action_low": f"[{size} numbers]",
            "action_high": f"[{size} numbers]",
        }
        kind, lines = example or ("as", [f"{name}: {form[name]}" for name in missing])
        said = f"{source} does not say its {', '.join(missing)}: write them into {facts_file(source)}"
        shown = ", ".join(f'"{line}"' for line in lines)
        super().__init__(f"{said}, {kind} {shown}{otherwise}")


@dataclass(frozen=True)
class Facts:
    """Information that another program's checkpoint lacks; `None` where it is not given.

    Attributes:
        task: the policy's task; to run it in simulation, the name of a task of paradp.
        control_hz: control steps per second.
        action_low: smallest value of each dimension of an action; planned actions are clipped to it.
        action_high: largest value of each dimension, likewise.
        action_convention: what actions mean to the environment.
        controller: gains of the low-level controller.
        observation: for each key of the checkpoint, its content: the names and lengths of the parts of a vector, in order,
            or the name of an image. Keys of a checkpoint that are left out keep their names; in a data set, only the listed
            keys are read.
        action: the names and lengths of the parts of the action, in order.
        action_step: largest change of each dimension between consecutive actions, for the safety limits.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid", "strict": False}  # as files are read

    task: str | None = None
    control_hz: int | None = None
    action_low: tuple[float, ...] | None = None
    action_high: tuple[float, ...] | None = None
    action_convention: str | None = None
    controller: dict[str, float] | None = None
    observation: dict[str, str | dict[str, int]] | None = None
    action: dict[str, int] | None = None
    action_step: tuple[float, ...] | None = None

    def needed(self, checkpoint: Path, actions: int) -> None:
        """Checks that all facts that a policy requires are given.

        Args:
            checkpoint: the checkpoint, for messages.
            actions: length of an action.

        Raises:
            MissingFacts: a fact is missing; the message names it and says where to write it.
        """
        needed = ("task", "control_hz", "action_low", "action_high")
        if missing := [name for name in needed if getattr(self, name) is None]:
            raise MissingFacts(checkpoint, missing, actions, ", or give them to load_policy or `paradp convert`")

    def lacking(self) -> list[str]:
        """Required facts that are missing for training; the control rate comes from the data."""
        return [name for name in ("task", "action_low", "action_high") if getattr(self, name) is None]

    def keeping(self, keys: Collection[str]) -> "Facts":
        """Returns the facts with only these keys of the observation; with all if `keys` is empty."""
        if not keys or self.observation is None:
            return self
        return replace(self, observation={key: said for key, said in self.observation.items() if key in keys} or None)

    def filled(self, others: "Facts") -> "Facts":
        """Returns the facts, completed by those of `others` where one is missing."""
        own = {one.name: getattr(self, one.name) for one in fields(self)}
        return Facts(**{name: getattr(others, name) if value is None else value for name, value in own.items()})


def facts_file(checkpoint: Path) -> Path:
    """The file with a checkpoint's facts: `paradp.yaml` in its folder; for a file `NAME.paradp.yaml` beside it, if any."""
    if checkpoint.is_dir():
        return checkpoint / FILE
    own = checkpoint.with_name(f"{checkpoint.name}.{FILE}")
    return own if own.exists() else checkpoint.with_name(FILE)
