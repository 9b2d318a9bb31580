"""An evaluation: a grid of runs over the same seeds, kept in one directory.

evaluation.json          the grid; an evaluation is only continued as itself, with as many episodes or more
cells/<cell>/            the run of each cell
alone/<sampler>/         each sampler with one robot at a time, for its latency
cells.parquet            one row per cell
episodes.parquet         one row per episode
steps.parquet            one row per control step
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import cast

import pandas as pd

from paradp.checkpoints import checkpoint_digest
from paradp.policy.errors import SettingError, settings_in
from paradp.policy.files import OutputLock, write_whole
from paradp.policy.files.formats import stamped
from paradp.policy.identity import describe
from paradp.policy.wording import counted
from paradp.rollouts.episodes.backends import EpisodeBackend
from paradp.rollouts.episodes.clocks import IDEAL, ClockChoice, ControllerName
from paradp.rollouts.episodes.config import RolloutConfig
from paradp.rollouts.episodes.directory import write_parquet
from paradp.rollouts.episodes.resolving import check
from paradp.rollouts.episodes.run import OnAlone, Runs
from paradp.rollouts.evaluation.comparison import Comparison, compare
from paradp.rollouts.evaluation.identity import MARKER, GridIdentity, check_evaluation
from paradp.rollouts.machine import cores
from paradp.rollouts.naming import short
from paradp.sampler import SamplerChoice


@dataclass(frozen=True)
class Grid:
    """Every combination of samplers, clocks, controllers, disturbances and limits; each one is a cell.

    Attributes:
        base: the settings that all cells share; its `out` is the evaluation's directory.
        samplers, executes, clocks, controllers, disturbances, max_steps: see `RolloutConfig`.
    """

    base: RolloutConfig
    samplers: tuple[SamplerChoice, ...]
    executes: tuple[int | None, ...] = (None,)
    clocks: tuple[ClockChoice, ...] = (IDEAL,)
    controllers: tuple[ControllerName, ...] = ("sync",)
    disturbances: tuple[str | None, ...] = (None,)
    max_steps: tuple[int | None, ...] = (None,)

    def cells(self) -> dict[str, RolloutConfig]:
        """Label → configuration of each cell. A label contains the settings that differ between cells.

        Raises:
            ValueError: a cell is impossible or exists twice; the message names it and the reason.
        """
        axes = (self.samplers, self.executes, self.clocks, self.controllers, self.disturbances, self.max_steps)
        cells: dict[str, RolloutConfig] = {}
        for values in product(*axes):
            label = _label(values, axes)
            if label in cells:
                raise ValueError(f"the cell {label!r} occurs twice")
            try:
                cells[label] = self._cell(label, *values)
                check(cells[label])
            except ValueError as error:
                raise SettingError(f"cell {label!r} is impossible: {error}", *settings_in(error)) from error
        return cells

    def _cell(
        self,
        label: str,
        sampler: SamplerChoice,
        execute: int | None,
        clock: ClockChoice,
        controller: ControllerName,
        disturbance: str | None,
        max_steps: int | None,
    ) -> RolloutConfig:
        return replace(
            self.base,
            sampler=sampler,
            out=cell_folder(self.base.out, label),
            # A measured clock needs the latency of a single robot.
            envs=1 if clock.kind == "measured" else self.base.envs,
            threads=cores() if clock.kind == "measured" else self.base.threads,
            execute=execute,
            clock=clock,
            controller=controller,
            disturbance=disturbance,
            max_steps=max_steps,
        )


def evaluate(
    grid: Grid,
    baseline: str | None = None,
    on_progress: Callable[[int], None] = lambda episodes: None,
    backend: EpisodeBackend | None = None,
    on_alone: OnAlone = lambda done, total: None,
) -> Comparison:
    """Runs the missing episodes of all cells, and compares the cells with a baseline.

    Args:
        grid: the cells.
        baseline: label of the cell to compare with; the first cell by default.
        on_progress: called with the number of finished episodes of all cells.
        backend: runs the episodes; this process by default.
        on_alone: called with the finished and total number of single-robot episodes, which measure latency.

    Raises:
        ValueError: a cell is impossible, the baseline is not a cell, the directory contains another evaluation, or another
            process writes there or into a cell.
        ChildProcessError, OSError: as `paradp.rollouts.rollout`.
    """
    cells, out = grid.cells(), grid.base.out
    baseline = baseline or next(iter(cells))
    if baseline not in cells:
        raise ValueError(f"the baseline {baseline!r} is not a cell; there are: {', '.join(cells)}")
    identity = _identity(grid, list(cells))
    # Checked before locking, so that a refused directory is not touched.
    check_evaluation(out, identity, grid.base.episodes)
    with Runs(list(cells.values()), backend, _alone(out)) as runs, OutputLock.inside(out):
        check_evaluation(out, identity, grid.base.episodes)
        document = stamped({**describe(identity), "episodes": grid.base.episodes})
        write_whole(out / MARKER, (json.dumps(document, indent=2) + "\n").encode())
        runs.run(on_progress, on_alone)
        comparison = compare({label: config.out for label, config in cells.items()}, baseline)
        for name in ("episodes", "steps"):
            tables = [getattr(run, name).assign(cell=run.label) for run in comparison.runs]
            write_parquet(pd.concat(tables, ignore_index=True), out / f"{name}.parquet")
        write_parquet(comparison.table(), out / "cells.parquet")
    return comparison


def _alone(out: Path) -> Callable[[RolloutConfig], Path]:
    """The directory of a cell's latencies, which depend only on the sampler and on how often it plans."""

    def place(config: RolloutConfig) -> Path:
        execute = "" if config.execute is None else f", execute {config.execute}"
        return out / "alone" / folder(f"{config.sampler}{execute}")

    return place


def cell_folder(out: Path, label: str) -> Path:
    """The directory of a cell's run."""
    return out / "cells" / folder(label)


def folder(label: str) -> str:
    """A label as the name of a directory."""
    return short(re.sub(r"[^\w.-]+", "_", label))


def _label(values: tuple[object, ...], axes: tuple[tuple[object, ...], ...]) -> str:
    """The label of a cell: the sampler, and the settings that differ between cells."""
    sampler, execute, clock, controller, disturbance, max_steps = values
    parts = (
        sampler,
        "execute as trained" if execute is None else f"execute {execute}",
        clock,
        controller,
        "undisturbed" if disturbance is None else disturbance,
        "usual limit" if max_steps is None else counted(cast(int, max_steps), "step"),
    )
    return ", ".join(str(part) for i, part in enumerate(parts) if i == 0 or len(axes[i]) > 1)


def _identity(grid: Grid, labels: list[str]) -> GridIdentity:
    base = grid.base
    return GridIdentity(
        task=base.task,
        checkpoint=base.checkpoint_path.name,
        checkpoint_sha256=checkpoint_digest(base.checkpoint_path),
        seed=base.seed,
        envs=base.envs,
        threads=base.threads,
        cells=tuple(labels),
    )
