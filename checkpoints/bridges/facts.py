"""What checkpoints of other programs do not say of a policy, though a robot must know it: given, and never guessed."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypedDict

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from paradp.policy.files.reading import first_problem, read_text

FILE = "paradp.yaml"
FACTS_BYTES = 64 * 1024  # a few lines
# LeRobot's actions mean what they meant to whoever recorded them.
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


@with_config(ConfigDict(extra="forbid", strict=False))
@dataclass(frozen=True)
class Facts:
    """What a checkpoint of another program lacks; `None` where nobody has said it.

    Attributes:
        task: what the policy does; where it is to run here, a task's name.
        control_hz: control steps per second.
        action_low, action_high: limits of every dimension of an action; what a policy plans is clipped to them.
        action_convention: what actions mean to the environment.
        controller: gains of the low-level controller.
        observation: by the checkpoint's keys, what stands in them: the names and lengths of the parts of a vector, in order,
            or an image's name. A key that is not here keeps its name.
        action: likewise of the action.
    """

    task: str | None = None
    control_hz: int | None = None
    action_low: tuple[float, ...] | None = None
    action_high: tuple[float, ...] | None = None
    action_convention: str | None = None
    controller: dict[str, float] | None = None
    observation: dict[str, str | dict[str, int]] | None = None
    action: dict[str, int] | None = None

    def needed(self, checkpoint: Path, actions: int) -> None:
        """Checks that all is there without which there is no policy.

        Args:
            checkpoint: whose facts these are.
            actions: length of an action.

        Raises:
            ValueError: something is missing; the message names it, and says where it can be given.
        """
        needed = ("task", "control_hz", "action_low", "action_high")
        if missing := [name for name in needed if getattr(self, name) is None]:
            raise ValueError(
                f"{checkpoint} does not say its {', '.join(missing)}: write them into {checkpoint / FILE}, such as "
                f'"task: pusht", "control_hz: 10", "action_low: {[0.0] * actions}", or give them to load_policy'
            )

    def lacking(self) -> list[str]:
        """What is needed for training and nobody has said; the rate is known where there is data."""
        return [name for name in ("task", "action_low", "action_high") if getattr(self, name) is None]

    def filled(self, others: "Facts") -> "Facts":
        """These, and where one is missing, that of the others."""
        own = {one.name: getattr(self, one.name) for one in fields(self)}
        return Facts(**{name: getattr(others, name) if value is None else value for name, value in own.items()})


_FACTS = TypeAdapter(Facts)


def read_facts(folder: Path, given: Mapping[str, Any] | None = None) -> Facts:
    """The facts of a checkpoint: those given, and for the rest the file `paradp.yaml` in its folder.

    Raises:
        ValueError: the file cannot be read, or what it says or what is given are no facts.
    """
    path = folder / FILE
    stored = _read(path) if path.exists() else {}
    return _validated("the facts given", given or {}).filled(_validated(f"{path}", stored))


def _validated(where: str, facts: Any) -> Facts:
    try:
        return _FACTS.validate_python(facts)
    except ValidationError as error:
        raise ValueError(f"{where} cannot be read: {first_problem(error)}") from error


def _read(path: Path) -> Any:
    try:
        content = yaml.load(read_text(path, FACTS_BYTES), _Loader)
    except (yaml.YAMLError, RecursionError) as error:
        said = " ".join(str(error).split()) or "it is nested too deep"
        raise ValueError(f"{path} cannot be read: {said:.200}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} cannot be read: it holds no names and values")
    return content


class _Loader(yaml.SafeLoader):
    """Plain values alone, no key twice, and no aliases, by which a small file can name many values."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        found = super().construct_mapping(node, deep)
        if len(found) < len(node.value):
            raise yaml.YAMLError("a key is there twice")
        return found
