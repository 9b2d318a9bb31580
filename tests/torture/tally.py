"""Counts of an attack, and faults that must not happen."""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

# Every one of these must stay 0.
Fault = Literal["lost", "doubled", "executed", "unsafe", "unexplained", "oversized", "left over"]
FAULTS: dict[Fault, str] = {
    "lost": "finished work that is gone or has changed",
    "doubled": "episodes, seeds or steps that occur twice",
    "executed": "code from a file or a message that ran",
    "unsafe": "commands that are not finite, outside the limits, too far from the last one, or not at rest after a stop",
    "unexplained": "ends that are neither the right result nor one sentence",
    "oversized": "inputs that took more than 100 MB or 20 seconds",
    "left over": "processes that outlive the one that started them",
}
EXAMPLES = 12
_NUMBER = re.compile(r"[-+\d.e\[\]()\s,]+")


@dataclass
class Tally:
    """Of one part.

    Attributes:
        counts: what was tried, by name.
        faults: how often each happened.
        examples: of faults, one line each, the first `EXAMPLES` that differ in more than numbers.
        notes: what was not tried here, and why.
    """

    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def count(self, name: str, how_many: int = 1) -> None:
        self.counts[name] += how_many

    def fault(self, kind: Fault, what: str) -> None:
        self.faults[kind] += 1
        example = f"{kind}: {' '.join(what.split())[:400]}"
        known = {_NUMBER.sub("", other) for other in self.examples}
        if len(self.examples) < EXAMPLES and _NUMBER.sub("", example) not in known:
            self.examples.append(example)

    def note(self, what: str) -> None:
        self.notes.append(what)

    def as_json(self) -> dict[str, Any]:
        return {
            "counts": dict(self.counts),
            "faults": {kind: self.faults[kind] for kind in FAULTS},
            "examples": self.examples,
            "notes": self.notes,
        }
