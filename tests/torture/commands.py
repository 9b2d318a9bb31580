"""Commands that write, and the parts of their output that must not depend on interruptions."""

import hashlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torture import world as worlds
from torture.tally import Tally
from torture.world import World, read_json

# What a clock says; all other columns are outcomes.
TIMES = {"seconds", "began", "simulation", "started", "replan_seconds", "replan_encode", "replan_denoise", "replan_decode"}
Outcome = dict[str, Any]
TRAINING = "--steps 400 --save-every 20 --log-every 10 --batch-size 8 --channels 8 16 --no-bf16"


@dataclass(frozen=True)
class Command:
    """A command that writes to --out.

    Attributes:
        name: its own.
        arguments: all but --out.
        outcome: what an output holds: key → value, where a key stands for a piece of work.
        keys: of every piece of work in an output, with repetitions.
    """

    name: str
    arguments: tuple[str, ...]
    outcome: Callable[[Path], Outcome]
    keys: Callable[[Path], list[str]]

    def to(self, out: Path) -> list[str]:
        return [*self.arguments, "--out", str(out)]


def commands(world: World) -> dict[str, Command]:
    policy = ("--checkpoint", str(world.checkpoint), "--engine", "eager", "--max-steps", "24")
    evaluation = ("evaluate", "pusht", "--samplers", "ddim-2", *policy, "--controller", "sync", "ahead")
    evaluation += ("--episodes", "8", "--envs", "2")
    made = [
        Command("collect", ("collect", "pusht", "--episodes", "5", "--workers", "2"), _collected, _collected_keys),
        Command(
            "train",
            ("train", "pusht", "--data", str(world.demonstrations), *TRAINING.split()),
            _trained,
            _trained_keys,
        ),
        Command(
            "rollout",
            ("rollout", "pusht", "--sampler", "ddim-3", *policy, "--episodes", "10", "--videos", "0"),
            _rolled_out,
            _episode_keys,
        ),
        Command("evaluate", (*evaluation, "--workers", "2"), _evaluated, _evaluation_keys),
        Command("evaluate on Ray", (*evaluation, "--backend", "ray"), _evaluated, _evaluation_keys),
    ]
    return {command.name: command for command in made}


def undisturbed(command: Command, world: World) -> tuple[Path, Outcome, float]:
    """The result of an uninterrupted command: its place, content and duration. Computed once for all parts."""
    folder = world.folder.parent / "undisturbed" / command.name.replace(" ", "-")
    out, took, log = folder / "out", folder / "seconds.txt", folder / "log.txt"
    if not took.exists():
        folder.mkdir(parents=True)
        process = worlds.start(command.to(out), folder / "cache", log)
        worlds.wait_for_work(process, out)
        began = time.monotonic()
        if (code := worlds.finish(process)) != 0:
            raise RuntimeError(f"{command.name} without a disturbance ends in {code}: {worlds.complaint(log)}")
        took.write_text(str(time.monotonic() - began))
    return out, command.outcome(out), float(took.read_text())


def compare(command: Command, out: Path, expected: Outcome, tally: Tally, when: str) -> None:
    """Counts lost and duplicate parts of an output, compared with an uninterrupted command's."""
    try:
        found, keys = command.outcome(out), command.keys(out)
    except Exception as error:  # an output that cannot be read is lost as a whole
        tally.fault("lost", f"{command.name} {when}: {type(error).__name__}: {error}")
        return
    tally.count("outputs compared")
    for key, value in expected.items():
        if key not in found:
            tally.fault("lost", f"{command.name} {when}: {key} is missing")
        elif found[key] != value:
            tally.fault("lost", f"{command.name} {when}: {key} differs: {found[key]!s:.80} instead of {value!s:.80}")
    for key, times in Counter(keys).items():
        if times > 1:
            tally.fault("doubled", f"{command.name} {when}: {key} is there {times} times")
    if more := found.keys() - expected.keys():
        tally.fault("doubled", f"{command.name} {when}: also there: {', '.join(sorted(more))}")


def _collected(out: Path) -> Outcome:
    import numpy as np

    from paradp.policy.data.demonstrations import Demonstrations

    there = Demonstrations.open(out)
    both = np.concatenate([*there.observations().values(), there.actions()], axis=1)
    parts = np.split(both, there.episode_ends[:-1])
    return {f"seed {seed}": _digest(part.tobytes()) for seed, part in zip(there.seeds, parts, strict=True)}


def _collected_keys(out: Path) -> list[str]:
    from paradp.policy.data.demonstrations import Demonstrations

    return [f"seed {seed}" for seed in Demonstrations.open(out).seeds]


def _metrics(out: Path) -> list[dict[str, Any]]:
    import json

    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def _trained(out: Path) -> Outcome:
    steps = {f"step {m['step']}": (m["train_loss"], m["validation_loss"], m["learning_rate"]) for m in _metrics(out)}
    return steps | {"weights": read_json(out / "checkpoint" / "config.json")["model_sha256"]}


def _trained_keys(out: Path) -> list[str]:
    return [f"step {line['step']}" for line in _metrics(out)]


def _rows(path: Path, by: list[str]) -> list[tuple[str, Any]]:
    """The names of a table's rows, and digests of their outcomes."""
    import pandas as pd

    table = pd.read_parquet(path)
    outcomes = table[[name for name in table.columns if name not in TIMES]]
    names = [", ".join(f"{key} {value}" for key, value in zip(by, row, strict=True)) for row in table[by].itertuples(False)]
    values = [_digest(repr([str(v) for v in row]).encode()) for row in outcomes.itertuples(index=False)]
    return list(zip(names, values, strict=True))


def _rolled_out(out: Path) -> Outcome:
    return dict(_rows(out / "episodes.parquet", ["seed"])) | dict(_rows(out / "steps.parquet", ["seed", "step"]))


def _episode_keys(out: Path) -> list[str]:
    return [name for name, _ in _rows(out / "steps.parquet", ["seed", "step"])]


def _evaluated(out: Path) -> Outcome:
    return dict(_rows(out / "episodes.parquet", ["cell", "seed"])) | dict(
        _rows(out / "steps.parquet", ["cell", "seed", "step"])
    )


def _evaluation_keys(out: Path) -> list[str]:
    return [name for name, _ in _rows(out / "steps.parquet", ["cell", "seed", "step"])]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
