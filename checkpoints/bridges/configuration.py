"""The configuration in a checkpoint of Diffusion Policy, written by OmegaConf and Hydra; expressions are not evaluated."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from paradp.bridges.pickled import Inert
from paradp.policy.files.limits import DOCUMENT_BYTES, JSON_DEPTH

MOST_VALUES = 20_000  # Diffusion Policy's have about 300
# Of all its texts, each as often as it occurs: few bytes of a pickle can refer to one text thousands of times. robomimic's
# contains a whole document.
MOST_LETTERS = 2 * DOCUMENT_BYTES
_REFERENCE = re.compile(r"\$\{([A-Za-z_][\w.]*)\}")
_MOST_FOLLOWED = 200  # over all values; also ends circular references
_MISSING = object()
# The only expression that a needed number is written as; it is recognised, not evaluated.
_WITH_LATENCY = re.compile(r"\$\{eval:'?\$\{n_action_steps\}\s*\+\s*\$\{n_latency_steps\}'?\}")


class Configuration:
    """Values by their dotted names. A reference to another value is followed; an expression is never evaluated.

    Args:
        content: what the checkpoint holds: dicts, lists and plain values, or OmegaConf's as inert data.

    Raises:
        ValueError: it is nested too deep, or holds too much.
    """

    def __init__(self, content: Any):
        self._left, self._letters, self._followed = MOST_VALUES, MOST_LETTERS, 0
        self._values = self._plain(content, 0)

    def get(self, name: str, default: Any = _MISSING) -> Any:
        """Returns a value, with its references resolved.

        Raises:
            ValueError: the value is missing and has no default, or it is an expression.
        """
        found = self._follow(self._look_up(name))
        if found is _MISSING:
            if default is _MISSING:
                raise ValueError(f"its configuration lacks {name}")
            return default
        if isinstance(found, str) and _WITH_LATENCY.fullmatch(found):
            return self.count("n_action_steps") + self.count("n_latency_steps", least=0)
        if isinstance(found, str) and "${" in found:
            raise ValueError(f"its configuration: {name} is the expression {found!r:.80}, which is not evaluated")
        return found

    def count(self, name: str, default: Any = _MISSING, least: int = 1) -> int:
        """Returns a whole number.

        Raises:
            ValueError: as `get`, or the value is not a whole number.
        """
        found = self.get(name, default)
        if type(found) is not int or not least <= found < 2**31:
            raise ValueError(f"its configuration: {name} must be a whole number from {least} on, not {found!r:.40}")
        return found

    def flag(self, name: str, default: Any = _MISSING) -> bool:
        """Returns a boolean; raises as `count`."""
        found = self.get(name, default)
        if type(found) is not bool:
            raise ValueError(f"its configuration: {name} must be true or false, not {found!r:.40}")
        return found

    def object(self, name: str) -> dict[str, Any]:
        """Returns several values by name, with their references resolved; raises as `count`."""
        return {key: self.get(f"{name}.{key}") for key in self._object(name)}

    def only(self, name: str, known: Collection[str]) -> None:
        """Checks that a group of values has no other names than these.

        Raises:
            ValueError: it has another; the message names it.
        """
        if unknown := sorted(map(str, self._object(name).keys() - set(known))):
            raise ValueError(f"its configuration: {name}.{unknown[0]:.80} is not known here")

    def _object(self, name: str) -> dict[str, Any]:
        found = self.get(name)
        if not isinstance(found, dict):
            raise ValueError(f"its configuration: {name} must be several values by name, not {found!r:.40}")
        return found

    def _look_up(self, name: str) -> Any:
        found = self._values
        for part in name.split("."):
            found = self._follow(found)  # the parent may be a reference itself
            found = found.get(part, _MISSING) if isinstance(found, Mapping) else _MISSING
        return found

    def _follow(self, value: Any) -> Any:
        while isinstance(value, str) and (match := _REFERENCE.fullmatch(value)):
            self._followed += 1
            if self._followed > _MOST_FOLLOWED:
                raise ValueError(f"its configuration refers to {match[1]:.80} in a circle")
            value = self._look_up(match[1])
        return value

    def _plain(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if depth > JSON_DEPTH:
            raise ValueError(f"its configuration is nested more than {JSON_DEPTH} deep")
        if self._left < 0:
            raise ValueError(f"its configuration holds more than {MOST_VALUES} values")
        if isinstance(value, str):
            self._count(value)
        if isinstance(value, Inert):
            state = value.state if isinstance(value.state, dict) else {}
            value = state.get("_content", state.get("_val"))
        if isinstance(value, dict):
            for key in value:
                self._count(str(key))
            return {key: self._plain(one, depth + 1) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self._plain(one, depth + 1) for one in value]
        return value if value is None or isinstance(value, bool | int | float | str) else None

    def _count(self, text: str) -> None:
        self._letters -= len(text)
        if self._letters < 0:
            raise ValueError(f"its configuration holds more than {MOST_LETTERS} letters")
