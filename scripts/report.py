"""Writes pages of results, with the command and the machine that made them."""

import shlex
import sys
from pathlib import Path

from paradp.policy.fidelity import Interval
from paradp.policy.files import write_whole
from paradp.rollouts.machine import hardware, versions
from paradp.rollouts.statistics import Estimate, interval


def write_report(path: Path, title: str, body: str) -> None:
    """Writes a markdown page that ends with the command, the machine and the package versions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, f"# {title}\n\n{body.strip()}\n\n---\n{made_by()}\n".encode())


def made_by() -> str:
    """The command that is running, the machine and the versions."""
    command = shlex.join(["paradp", *sys.argv[1:]])
    machine = ", ".join(f"{key} {value}" for key, value in hardware().items())
    software = ", ".join(f"{key} {value}" for key, value in versions().items())
    return f"Made by `{command}` on {machine}; {software}."


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """Formats a markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def between(found: Interval, digits: int = 3) -> str:
    """Formats a fidelity value with its 95 % interval."""
    return interval(Estimate(found.value, (found.low, found.high)), digits)
