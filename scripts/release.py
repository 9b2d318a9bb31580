"""`paradp release`: adds a trained checkpoint to the pretrained policies, with its measured results."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from paradp.checkpoints.finding import FILES, IN_TREE, find_own
from paradp.envs import all_tasks
from paradp.policy.wording import counted
from paradp.scripts.console import loading, say

if TYPE_CHECKING:
    from paradp.policy import PolicySpec
    from paradp.rollouts.episodes.summary import Summary
    from paradp.rollouts.statistics import Estimate

# Patterns of the runs in comparisons (`paradp rollout --sampler a b`) and evaluations, and how many a message names.
_INNER = ("*/summary.json", "cells/*/summary.json")
_MOST_NAMED = 6
# Settings of a sampler that a model card lists.
_LISTED = ("eta", "spacing", "timesteps", "window")


def release(checkpoint: tyro.conf.Positional[Path], runs: list[Path]) -> None:
    """Copy a checkpoint to the pretrained policies of a clone, and write the success of its rollouts into its card.

    Its fidelity and its draft are copied, too, if they exist. It gets the task's name, or TASK-image if it looks at images.
    It executes as many actions of a chunk as in the rollouts; if that is another number than before, measure fidelity and
    train the draft again.

        paradp release runs/train/checkpoint \\
            --runs runs/square-200/ddpm runs/square-200/para-ddpm

    Args:
        checkpoint: the checkpoint's directory.
        runs: directories of finished rollouts with these weights.
    """
    if not IN_TREE.is_dir():
        raise ValueError(
            "`paradp release` writes to checkpoints/pretrained of a clone, and paradp is not installed from one"
        )
    path = find_own(checkpoint)
    _check_finished(runs)
    with loading("PyTorch, to check the checkpoint"):
        from paradp.checkpoints import read_card, read_info
        from paradp.checkpoints.cards import UNMEASURED, executed
        from paradp.checkpoints.store import write_spec
        from paradp.policy.files import write_whole
    info = read_info(path)
    summaries = [_read(run, info.model_sha256, info.spec.task, path) for run in runs]
    spec, card = executed_in(info.spec, summaries), read_card(path)
    if UNMEASURED not in card:
        raise ValueError(f"{path}/README.md already describes the measurements")
    name = name_of(spec)
    target = IN_TREE / name
    target.mkdir(parents=True, exist_ok=True)
    copy_checkpoint(path, target, measured=spec == info.spec)
    if spec != info.spec:
        write_spec(target, spec)
    measured = card.replace(UNMEASURED, "\n".join(map(_result, summaries))).replace(executed(info.spec), executed(spec), 1)
    write_whole(target / "README.md", measured.encode())
    say(f"{name}: {target}")


def _read(run: Path, weights: str, task: str, path: Path) -> "Summary":
    """The results of a run.

    Raises:
        ValueError: it had other weights, or was of another task.
    """
    from paradp.rollouts.episodes.summary import Summary

    summary = Summary.read(run / "summary.json")
    if summary.checkpoint["sha256"] != weights:
        raise ValueError(f"{run} measured other weights than those of {path}")
    if summary.task != task:
        raise ValueError(f"{run} is of the task {summary.task}, and {path} of {task}")
    return summary


def executed_in(spec: "PolicySpec", summaries: Sequence["Summary"]) -> "PolicySpec":
    """The specification with the number of executed actions in some rollouts.

    Raises:
        ValueError: they executed different numbers.
    """
    numbers = sorted({summary.execute for summary in summaries})
    if len(numbers) > 1:
        said = ", ".join(map(str, numbers))
        raise ValueError(f"the runs executed different numbers of actions ({said}); release those with one number")
    return replace(spec, horizons=spec.horizons.with_execute(numbers[0]))


def name_of(spec: "PolicySpec") -> str:
    """The name of a policy among the pretrained ones."""
    sees = any(feature.kind == "image" for feature in spec.observed.values())
    return f"{spec.task}-image" if sees else spec.task


def copy_checkpoint(path: Path, target: Path, measured: bool = True) -> None:
    """Replaces a checkpoint's files by another one's, including fidelity and draft, unless these have become invalid."""
    from paradp.checkpoints.store import ADDED

    for name in FILES:
        shutil.copyfile(path / name, target / name)
    for name in ADDED:
        if measured and (path / name).exists():
            shutil.copyfile(path / name, target / name)
        else:
            (target / name).unlink(missing_ok=True)


def _check_finished(runs: Sequence[Path]) -> None:
    """Raises:
    ValueError: there is none, or one is not a finished run; if it is a directory of runs, the message names those.
    """
    if not runs:
        raise ValueError("--runs must name at least one finished rollout of the checkpoint")
    for run in runs:
        if not (run / "summary.json").is_file():
            raise ValueError(_unfinished(run))


def _unfinished(run: Path) -> str:
    """Says what a directory holds that is not a finished run."""
    inner = sorted(path.parent for pattern in _INNER for path in run.glob(pattern))
    if not inner:
        return f"{run} holds no finished run: it has no summary.json"
    shown = " ".join(map(str, inner[:_MOST_NAMED])) + f" … ({len(inner)} in all)" * (len(inner) > _MOST_NAMED)
    return f"{run} holds {counted(len(inner), 'run')} and is none itself; name those to release: --runs {shown}"


def _result(summary: "Summary") -> str:
    graded = f", reward {_estimated(summary.reward)}" if summary.graded else ""
    settings = summary.sampler["settings"]
    listed = "".join(f":{name}={settings[name]}" for name in _LISTED if settings.get(name) is not None)
    success = f"success {_estimated(summary.success)}{graded} over {counted(summary.episodes, 'episode')}"
    solver = summary.solver
    cost = f"{solver.rounds_mean:.1f} rounds and {solver.evaluations_mean:.0f} evaluations a plan"
    return f"- {summary.sampler['name']}{listed}: {success}, {summary.seeds}{_conditions(summary)}; {cost}"


def _conditions(summary: "Summary") -> str:
    """The conditions of a run that are not a task's usual ones, as text."""
    known = all_tasks().get(summary.task)
    conditions = [
        f"clock {summary.clock}" * (summary.clock != "ideal"),
        f"controller {summary.controller}" * (summary.controller != "sync"),
        f"disturbance {summary.disturbance}" * (summary.disturbance is not None),
        f"at most {counted(summary.max_steps, 'step')}" * (known is None or summary.max_steps != known.task.max_steps),
    ]
    return "".join(f", {said}" for said in conditions if said)


def _estimated(estimate: "Estimate") -> str:
    low, high = estimate.ci95
    return f"{estimate.mean:.3f} (95 % {low:.3f}–{high:.3f})"
