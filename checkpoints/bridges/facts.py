"""Collects the facts that other programs' checkpoints lack, from the caller and from a file beside the weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from paradp.bridges.fact_fields import AS_RECORDED, FILE, Facts, Given, facts_file
from paradp.policy.files.reading import first_problem, read_text

__all__ = ["AS_RECORDED", "FILE", "Facts", "Given", "facts_file", "read_facts"]

FACTS_BYTES = 64 * 1024  # a few lines
_FACTS = TypeAdapter(Facts)


def read_facts(checkpoint: Path, given: Mapping[str, Any] | None = None) -> Facts:
    """Returns the facts for a checkpoint (folder or file): those given, the others from its file of facts, if there is one.

    Raises:
        ValueError: the file cannot be read, or its content or the given values are not facts.
    """
    path = facts_file(checkpoint)
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
        raise ValueError(f"{path} cannot be read: it must contain names and values")
    return content


class _Loader(yaml.SafeLoader):
    """Accepts plain values only: no key twice, and no aliases, with which a small file can expand to many values."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        found = super().construct_mapping(node, deep)
        if len(found) < len(node.value):
            raise yaml.YAMLError("a key occurs twice")
        return found
