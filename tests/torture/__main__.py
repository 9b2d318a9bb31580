"""`python -m torture`: runs all attacks, two at a time, each in a separate process; see `make torture`."""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from torture.amounts import Amounts
from torture.page import write_page
from torture.parts import PARTS
from torture.tally import FAULTS

# What mostly waits for other processes beside what mostly computes.
LANES = (("kills", "writers", "disks", "caches"), ("control", "files", "messages", "restarts"))
console = Console()


def main() -> int:
    parser = argparse.ArgumentParser(prog="torture", description="Attack the package and count what must not happen.")
    parser.add_argument("--minutes", type=float, default=30.0, help="about how long, on two cores")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", default=",".join(PARTS), help="which, with commas between them")
    parser.add_argument("--out", type=Path, help="a JSON file for the counts")
    parser.add_argument("--page", type=Path, help="a markdown page whose marked section shows them")
    parser.add_argument("--work", type=Path, help="a folder to work in, which is kept; a temporary one by default")
    options = parser.parse_args()
    if unknown := set(options.parts.split(",")) - PARTS.keys():
        parser.error(f"no such part: {', '.join(unknown)}. There are: {', '.join(PARTS)}.")
    if options.page and not options.out:
        parser.error("--page needs --out")
    with tempfile.TemporaryDirectory(prefix="torture-") as temporary:
        report = _attack(options, options.work or Path(temporary))
    console.print(_table(report))
    for example in (f"{name}: {line}" for name, part in report["parts"].items() for line in part["examples"]):
        console.print(example, style="red", markup=False, highlight=False, soft_wrap=True)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=2) + "\n")
    if options.page:
        write_page(options.out, options.page)
    return int(any(report["faults"].values()))


def _attack(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    chosen, began = options.parts.split(","), time.monotonic()
    work.mkdir(parents=True, exist_ok=True)
    with console.status("making demonstrations and a small policy"):
        _ask([*_command(options, work), "--build"], work / "world.log", lambda line: None)
    amounts, results = Amounts.of(options.minutes), {}
    columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console, speed_estimate_period=3600) as bar:
        tasks = {name: bar.add_task(name, total=PARTS[name].total(amounts), start=False) for name in PARTS if name in chosen}

        def run(name: str) -> None:
            bar.start_task(tasks[name])
            began = time.monotonic()

            def hear(line: dict[str, Any]) -> None:
                bar.update(tasks[name], completed=line.get("done"))
                if "counts" in line:
                    results[name] = line

            code = _ask([*_command(options, work), "--part", name], work / f"{name}.log", hear)
            if name not in results:
                results[name] = _failed(name, code, work / f"{name}.log")
            results[name]["seconds"] = round(time.monotonic() - began)

        def lane(names: tuple[str, ...]) -> None:
            for name in names:
                if name in tasks and PARTS[name].total(amounts):
                    run(name)

        with ThreadPoolExecutor(len(LANES)) as pool:
            list(pool.map(lane, LANES))
    return _report(options, {name: results[name] for name in PARTS if name in results}, time.monotonic() - began)


def _command(options: argparse.Namespace, work: Path) -> list[str]:
    settings = ["--minutes", str(options.minutes), "--seed", str(options.seed), "--work", str(work)]
    return [sys.executable, "-m", "torture.parts", *settings]


def _ask(command: list[str], log: Path, hear: Any) -> int:
    """Runs a part, which reports its progress in lines of JSON; other output goes to its log."""
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith('{"torture"'):
                hear(json.loads(line)["torture"])
        return process.wait()


def _failed(name: str, code: int, log: Path) -> dict[str, Any]:
    last = (log.read_text(errors="replace").strip().splitlines() or ["no word"])[-1]
    faults = dict.fromkeys(FAULTS, 0) | {"unexplained": 1}
    return {"counts": {}, "faults": faults, "examples": [f"the attack itself ended in {code}: {last}"], "notes": []}


def _report(options: argparse.Namespace, parts: dict[str, Any], seconds: float) -> dict[str, Any]:
    counts, faults = Counter[str](), Counter[str]()
    for part in parts.values():
        counts.update(part["counts"])
        faults.update(part["faults"])
    arguments = ["make", "torture"] if options.minutes >= 10 else ["make", "torture-short"]
    return {
        "command": shlex.join([*arguments, f"SEED={options.seed}", f"MINUTES={options.minutes:g}"]),
        "seed": options.seed,
        "minutes": options.minutes,
        "took_minutes": round(seconds / 60, 1),
        "hardware": {"cpu": _cpu(), "cores": len(os.sched_getaffinity(0)), "system": platform.platform()},
        "versions": _versions(),
        "counts": dict(counts),
        "faults": {kind: faults[kind] for kind in FAULTS},
        "parts": parts,
    }


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    names = ("torch", "numpy", "zarr", "h5py", "safetensors", "msgpack", "websockets", "gym-pusht")
    return {"python": platform.python_version()} | {name: version(name) for name in names}


def _table(report: dict[str, Any]) -> Table:
    table = Table("part", "tried", "must be 0", title=f"{report['command']}: {report['took_minutes']:g} minutes")
    for name, part in report["parts"].items():
        table.add_row(name, PARTS[name].tried(part["counts"]), _found(part["faults"]))
    table.add_section()
    table.add_row("all", "", _found(report["faults"]))
    return table


def _found(faults: dict[str, int]) -> str:
    return ", ".join(f"[red]{count} {kind}[/red]" for kind, count in faults.items() if count) or f"0 {', '.join(FAULTS)}"


if __name__ == "__main__":
    sys.exit(main())
