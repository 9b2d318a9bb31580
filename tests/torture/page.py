"""The counts of a run as a section of a markdown page."""

import json
from pathlib import Path
from typing import Any

from torture.parts import PARTS
from torture.tally import FAULTS

BEGIN, END = "<!-- counts: begin -->", "<!-- counts: end -->"


def write_page(counts: Path, page: Path) -> None:
    """Renews the marked section of a page.

    Raises:
        ValueError: the page has no such section.
    """
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no section between {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n{section(json.loads(counts.read_text()))}\n{END}{after}")


def section(report: dict[str, Any]) -> str:
    kinds = list(FAULTS)
    rows = [
        [name, PARTS[name].tried(part["counts"]), *(str(part["faults"][kind]) for kind in kinds)]
        for name, part in report["parts"].items()
    ]
    rows.append(["**all**", "", *(f"**{report['faults'][kind]}**" for kind in kinds)])
    hardware, versions = report["hardware"], ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    notes = [f"- {name}: {note}" for name, part in report["parts"].items() for note in part["notes"]]
    lines = [
        f"`{report['command']}` took {report['took_minutes']:g} minutes on {hardware['cores']} cores of {hardware['cpu']}"
        f" ({hardware['system']}).",
        f"Versions: {versions}.",
        "",
        _row(["part", "tried", *kinds]),
        _row(["---", "---", *["---:"] * len(kinds)]),
        *map(_row, rows),
        "",
        *(f"- *{kind}*: {meaning}" for kind, meaning in FAULTS.items()),
        *(["", "Not tried there:", "", *notes] if notes else []),
    ]
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
