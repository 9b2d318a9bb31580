"""`make compare OLD=… NEW=…`: runs two commits on the same machine, and compares their behaviour bit by bit.

Recorded are the plans of every shipped policy, demonstrations, trainings, a run, an evaluation and a server's conversation;
and what each commit makes of the old one's checkpoints, store, trainings, run and evaluation. The exit code is 1 where a
value differs that was not named with --intended.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rich.console import Console

from behaviour.checkouts import Bench, Checkout, Failed, cores
from behaviour.comparing import compare, differences, faults, summary
from behaviour.parts import LATER, NEEDS, PARTS, leave, recorded
from behaviour.recording import EXCLUDED, Values, save

console = Console()


def main() -> int:
    options = _options()
    with _folder(options.work) as folder:
        try:
            benches = [_bench(commit, folder / side) for commit, side in ((options.old, "old"), (options.new, "new"))]
        except Failed as error:
            console.print(str(error), style="red", markup=False)
            return 2
        old, new = _record(benches, options.parts)
        for side, values in (("old", old), ("new", new)):
            save(values, folder / f"{side}.npz")
    compared = compare(old, new, options.intended)
    console.print(summary(compared, f"{options.old} → {options.new}"))
    if any(one.what for one in compared) or faults(compared):
        console.print(differences(compared))
    found = faults(compared)
    console.print(f"{found} of {len(compared)} values are not as they were" if found else "nothing differs")
    return int(found > 0)


def _options() -> argparse.Namespace:
    left_out = "; ".join(f"{pattern} ({why})" for pattern, why in EXCLUDED.items())
    parser = argparse.ArgumentParser(
        prog="python -m behaviour", description="Compare what two commits do, to the bit.", epilog=f"Left out: {left_out}."
    )
    parser.add_argument("old", help="a commit, or a folder that holds a checkout")
    parser.add_argument("new", help="likewise")
    parser.add_argument("--parts", nargs="+", default=[*PARTS, *LATER], choices=[*PARTS, *LATER], metavar="PART")
    parser.add_argument("--intended", action="append", default=[], metavar="PATTERN", help="names of values that may differ")
    parser.add_argument("--work", type=Path, help="a new folder to work in, which is kept; a temporary one by default")
    options = parser.parse_args()
    for name in [part for part in (*PARTS, *LATER) if part in options.parts]:
        options.parts = [*options.parts, *(need for need in NEEDS.get(name, ()) if need not in options.parts)]
    return options


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True)
        yield kept.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="behaviour-") as temporary:
        yield Path(temporary).resolve()


def _bench(commit: str, folder: Path) -> Bench:
    folder.mkdir()
    core = cores()[0 if folder.name == "old" else -1]
    bench = Bench(Checkout.of(commit, folder), folder / "made", core)
    bench.folder.mkdir()
    return bench


def _record(benches: list[Bench], parts: list[str]) -> tuple[Values, Values]:
    """Runs both commits at the same time, each on its own core, if there are two.

    First what each makes; then what each goes on with, which is the old commit's.
    """
    with ThreadPoolExecutor(min(len(benches), len(cores()))) as pool:
        made = list(pool.map(partial(_make, parts=parts), benches))
        leave(benches[0])
        later = list(pool.map(partial(_go_on, earlier=benches[0].folder, parts=parts), benches))
    old, new = (before | after for before, after in zip(made, later, strict=True))
    return old, new


def _make(bench: Bench, parts: list[str]) -> Values:
    values: Values = {}
    for name in [name for name in PARTS if name in parts]:
        values |= recorded(name, partial(PARTS[name], bench))
        console.print(f"{bench.folder.parent.name}: {name}")
    return values


def _go_on(bench: Bench, earlier: Path, parts: list[str]) -> Values:
    values: Values = {}
    for name in [name for name in LATER if name in parts]:
        own = Bench(bench.checkout, bench.folder.parent / name.replace(" ", "-"), bench.core)
        own.folder.mkdir()
        values |= recorded(name, partial(LATER[name], own, earlier))
        console.print(f"{bench.folder.parent.name}: {name}")
    return values


if __name__ == "__main__":
    sys.exit(main())
