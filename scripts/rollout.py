"""`paradp rollout`: a policy in closed loop."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from paradp.envs import find_task
from paradp.rollouts.episodes.config import RolloutConfig
from paradp.rollouts.machine import cores
from paradp.rollouts.naming import short
from paradp.sampler import SAMPLERS, SamplerChoice
from paradp.scripts.call import Count, Several, TaskName
from paradp.scripts.console import ALONE, Phases, console, doing, loading, say
from paradp.scripts.lists import SamplersText, words
from paradp.scripts.places import (
    check_continues,
    check_device,
    check_folder,
    check_simulator,
    checkpoint_of,
    default_out,
    disturbance_of,
    unused,
)
from paradp.scripts.recording import check_rerun, recorded_run
from paradp.scripts.sampler_names import read_sampler
from paradp.scripts.task_facts import naming_facts_of
from paradp.scripts.typed_settings import Typed, options_of

if TYPE_CHECKING:
    from paradp.rollouts.realtime.watcher import Watcher


# The workers share the threads.
@options_of(RolloutConfig, without=("threads",), defaults={"videos": 1})
class Flags(Typed[RolloutConfig]):
    """The options of `paradp rollout` from the settings of a run."""


DEFAULT_RUN = Flags()


# Long: its parameters are the command's options, and its docstring is their help.
def rollout(
    task: TaskName,
    sampler: SamplersText = "auto",
    window: Count | None = None,
    tolerance: float | None = None,
    split: Literal["unit", "linear"] | None = None,
    max_rounds: Count | None = None,
    workers: Several = 1,
    live: bool = False,
    trace: bool = False,
    rerun: bool = False,
    out: Path | None = None,
    run: tyro.conf.OmitArgPrefixes[Flags] = DEFAULT_RUN,
) -> None:
    """Run a policy in closed loop, and record success, reward, latency and videos.

    Several samplers run on the same seeds, each with its own folder in --out, and are compared with the first.
    The same command continues an interrupted run.

        paradp rollout square --episodes 20 --out runs/demo
        paradp rollout square --live --trace
        paradp rollout square --out runs/three \\
            --sampler ddpm auto para-ddpm:window=8:tolerance=0.1

    Args:
        task: the task's name; `paradp tasks` lists them.
        window: steps evaluated at once, for all parallel samplers.
        tolerance: accepted change in standard deviations of a step's noise, for all para- samplers.
        split: how a round updates the states, for all para- samplers: unit (the paper's) adds up the changes of the steps
            before; linear takes the steps one after another with the last predictions, so that their linear part is exact.
        max_rounds: limit on the rounds of a plan, for all para- and speculative samplers.
        workers: processes, which share the cores.
        live: show the loop's timing while it runs; only with one worker.
        trace: write a timeline to trace.json, for ui.perfetto.dev; only with one worker.
        rerun: write what the robot saw, did and planned to recording.rrd, for Rerun's viewer; only with one worker. Only
            frames that a plan uses are rendered and recorded.
        out: the run's directory; by default runs/rollout/TASK-SAMPLERS-DIGEST. The digest depends on all other settings,
            so the same command continues its run, and other commands use another directory.
        run: settings of the run.
    """
    find_task(task)
    choices = _choices(sampler, {"window": window, "tolerance": tolerance, "split": split, "max-rounds": max_rounds})
    config = run.checked(task=task, sampler=choices[0], out=out or Path(), threads=max(1, cores() // workers))
    weights = checkpoint_of(task, config.checkpoint)
    config = replace(config, disturbance=disturbance_of(task, config.disturbance))
    check_simulator(task)
    check_device(config.device)
    if (live or trace or rerun) and workers > 1:
        raise ValueError("--live, --trace and --rerun show the loop of one process: leave out --workers")
    if rerun:
        check_rerun()
    if out is None:
        out = default_out("rollout", task, list(map(str, choices)), weights, {"settings": _digested(config)})
        say(f"writing to {out}")
    folders = _folders(out, choices, config)
    config = replace(config, videos=_filmed(task, config.videos))
    configs = [replace(config, sampler=choice, out=folder) for choice, folder in folders.items()]
    _run_all(configs, workers, live, trace, rerun)
    _compare(configs, out)


def _digested(config: RolloutConfig) -> tuple[object, ...]:
    """The settings that results depend on, except those in the directory's name."""
    world = (config.execute, config.clock.identity, config.controller, config.disturbance, config.max_steps)
    return config.seed, config.envs, config.threads, config.device, config.engine, config.precision, *world


def _folders(out: Path, choices: list[SamplerChoice], config: RolloutConfig) -> dict[SamplerChoice, Path]:
    """The folder of each sampler's run.

    Args:
        out: the folder of all runs, or of a single one.
        config: settings of the run, which must be those of an existing run there.

    Raises:
        ValueError: one of the folders holds something else.
        OSError: nothing can be written there.
    """
    check_folder(out)
    folders = {choice: out / run_folder(choice) if len(choices) > 1 else out for choice in choices}
    if len(choices) > 1:
        _check_parent(out, list(folders.values()))
    asked = {"task": config.task, "seed": config.seed, "clock": config.clock.identity, "controller": config.controller}
    for choice, folder in folders.items():
        check_continues(folder, "run.json", {**asked, "disturbance": config.disturbance, "sampler": choice})
    return folders


def _filmed(task: str, videos: int) -> int:
    """The number of episodes to film; 0 if frames cannot be rendered."""
    if videos and (problem := find_task(task).task.film_problem):
        say(f"no films: {problem}")
        return 0
    return videos


def _run_all(configs: list[RolloutConfig], workers: int, live: bool, trace: bool, rerun: bool) -> None:
    with loading():
        from paradp.rollouts.episodes.resolving import check, settled
    # A mistake in the last sampler should not wait for the first one's episodes.
    for one in configs:
        with doing(f"loading {one.sampler}" + "; measuring which sampler is fastest here" * one.sampler.measured):
            with naming_facts_of(one.task):
                check(one)
            _, why = settled(one)
        if why:
            say(f"{one.sampler} is {why}")
    for one in configs:
        _run(one, workers, live, trace, rerun)


def _run(config: RolloutConfig, workers: int, live: bool, trace: bool, rerun: bool) -> None:
    from paradp.rollouts import rollout as run
    from paradp.rollouts.episodes.backends import LocalProcesses
    from paradp.rollouts.realtime.watcher import Watcher

    watcher = Watcher(1 / find_task(config.task).task.control_hz)
    with _shown(live, config, watcher) as (report, alone), recorded_run(config, rerun) as recording:
        run(config, report, LocalProcesses(workers) if workers > 1 else None, [watcher, *recording], alone)
    if live:
        from paradp.scripts.live import loop_tables

        console.print(loop_tables(config, watcher))
    if trace and watcher.steps:
        path = unused(config.out / "trace.json")
        watcher.timeline.write_trace(path)
        say(f"trace: {path}, to be opened at ui.perfetto.dev")
    if (trace or rerun) and not watcher.steps:
        say("no trace and no recording: these episodes were run before; choose another --out to run them again")


def _compare(configs: list[RolloutConfig], out: Path) -> None:
    """Prints and writes the comparison of the runs."""
    with doing("comparing"):
        from paradp.policy.files.writing import naming_file
        from paradp.rollouts.evaluation.comparison import compare
        from paradp.scripts.evidence import evidence
        from paradp.scripts.figures import plot_reward_against_latency
        from paradp.scripts.report import markdown_table, write_report
        from paradp.scripts.tables import comparison_table

        comparison = compare({str(one.sampler): one.out for one in configs})
        with naming_file(out / "comparison.png"):
            plot_reward_against_latency(comparison, out / "comparison.png")
        write_report(
            out / "comparison.md",
            comparison.title,
            markdown_table(["", *(run.label for run in comparison.runs)], comparison.rows()) + "\n\n![](comparison.png)",
        )
    console.print(comparison_table(comparison))
    say(f"in {out}: comparison.md, comparison.png; per sampler summary.json, episodes.parquet, steps.parquet")
    _tell_of_films(configs, out)
    if said := evidence(comparison, configs[0].checkpoint):
        say(said)


def _tell_of_films(configs: list[RolloutConfig], out: Path) -> None:
    """Prints the videos' names, and joins those of the first seed side by side."""
    from paradp.rollouts.episodes.video import film_of, side_by_side

    for film in sorted(out.glob("**/videos/*.mp4")):
        say(f"film: {film}")
    first = [found for one in configs if (found := film_of(one.out / "videos", one.seed))]
    if configs[0].videos and len(first) > 1:
        together = out / "side-by-side.mp4"
        side_by_side(first, together)
        say(f"film: {together}")


@contextmanager
def _shown(
    live: bool, config: RolloutConfig, watcher: "Watcher"
) -> Iterator[tuple[Callable[[int], None], Callable[[int, int], None]]]:
    """Shows a live view or a progress bar; yields functions for the progress of the run, and of single-robot episodes."""
    with Phases() as phases:
        if not live:
            what = f"{config.task} · {config.sampler}"
            yield (lambda done: phases.report(what, done, config.episodes)), partial(phases.report, ALONE)
            return
        from paradp.scripts.live import LATEST, live_view, loop_tables

        with live_view(lambda: loop_tables(config, watcher, LATEST)) as watcher.on_change:
            yield (lambda done: None), (lambda done, total: say(f"{ALONE}: {done} of {total}"))


def _check_parent(out: Path, runs: list[Path]) -> None:
    """Checks the folder of several runs: it must not be a run itself, and contain only runs."""
    if (out / "run.json").exists():
        raise ValueError(f"{out} holds a run of one sampler; choose another --out for several")
    others = {p for p in out.iterdir() if p.is_dir()} - set(runs) if out.exists() else set()
    if out.exists() and any(out.iterdir()) and not any((p / "run.json").exists() for p in [*runs, *others]):
        raise ValueError(f"{out} is not empty and holds no runs; choose another --out")


def _choices(text: str, flags: dict[str, Any]) -> list[SamplerChoice]:
    """Parses the samplers, and adds the flags that they support.

    Raises:
        ValueError: a sampler is unknown or repeated, or no sampler supports a flag.
    """
    choices = [read_sampler(word) for word in words(text)]
    for flag, value in flags.items():
        if value is not None and not any(flag in SAMPLERS[choice.family].options for choice in choices):
            raise ValueError(f"--{flag} is supported by none of these samplers: {', '.join(map(str, choices))}")
    choices = [_with_flags(choice, flags) for choice in choices]
    if not choices or len(set(choices)) < len(choices):
        raise ValueError(f"--sampler must name one or several different samplers, not {text!r}")
    return choices


def _with_flags(choice: SamplerChoice, flags: dict[str, Any]) -> SamplerChoice:
    """Adds the flags that a sampler supports; options in its name take precedence."""
    given = {k: v for k, v in flags.items() if v is not None and k in SAMPLERS[choice.family].options}
    return replace(choice, options=tuple(sorted((given | dict(choice.options)).items())))


def run_folder(choice: SamplerChoice) -> str:
    """The name of the folder of a sampler's run."""
    return short(str(choice).replace(":", "_").replace("=", "-"))
