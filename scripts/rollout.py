"""`paradp rollout`: a policy in closed loop."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Group

from paradp.envs import find_task
from paradp.policy import EngineName, Precision
from paradp.rollouts import RolloutConfig
from paradp.rollouts import rollout as run
from paradp.rollouts.backends import Local
from paradp.rollouts.clocks import ClockChoice
from paradp.rollouts.comparison import compare
from paradp.rollouts.config import ControllerName, cores
from paradp.rollouts.video import film_of, side_by_side
from paradp.rollouts.watcher import Watcher
from paradp.sampler import SAMPLERS, SamplerChoice, sampler_names
from paradp.scripts.console import console, progress
from paradp.scripts.figures import plot_reward_against_latency
from paradp.scripts.live import count_table, live_view, timing_table
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.tables import comparison_table

SAMPLER_HELP = "how to denoise, one or several with commas between them, each with its options behind colons. " + " ".join(
    f"{name}: {family.summary}{'; options ' * bool(family.options)}{', '.join(family.options_as_typed)}."
    for name, family in zip(sampler_names(), SAMPLERS.values(), strict=True)
)


def rollout(
    task: tyro.conf.Positional[str],
    sampler: Annotated[str, tyro.conf.arg(help=SAMPLER_HELP)] = "auto",
    window: int | None = None,
    tolerance: float | None = None,
    split: Literal["unit", "linear"] | None = None,
    max_rounds: int | None = None,
    execute: int | None = None,
    clock: str = "ideal",
    controller: ControllerName = "sync",
    disturbance: str | None = None,
    max_steps: int | None = None,
    episodes: int = 20,
    seed: int = 0,
    envs: int = 1,
    workers: int = 1,
    videos: int = 1,
    checkpoint: str | None = None,
    device: str = "cpu",
    engine: EngineName = "auto",
    precision: Precision = "fp32",
    live: bool = False,
    trace: bool = False,
    out: Path = Path("runs/rollout"),
) -> None:
    """Run a policy in closed loop; measure success, reward and latency, film it, and write it all down.

    Several samplers run on the same seeds, each into a folder of its own under --out, and are compared with the first.
    A run that was interrupted continues when the same command is given again.

        paradp rollout square --episodes 20 --out runs/demo
        paradp rollout square --live --trace
        paradp rollout square --sampler ddpm,auto,para-ddpm:window=8:tolerance=0.1 --out runs/three

    Args:
        task: the task's name; `paradp tasks` lists them.
        sampler: see above.
        window: steps evaluated at once, for every parallel sampler named.
        tolerance: accepted change in standard deviations of a step's noise, for every para- sampler named.
        split: what a round holds fixed, for every para- sampler named: unit (the paper's) or linear.
        max_rounds: budget of rounds a plan, for every para- sampler named.
        execute: actions of a chunk that are executed before the next; the checkpoint's own number by default.
        clock: what happens while the policy thinks. ideal: simulation waits. measured: time goes on as long as each plan
            takes here. fixed:MS: so long for each. replay:FILE: as long as the plans in a run's alone.parquet took.
        controller: sync asks for a chunk when the last one is used up, ahead while there are actions left; ahead-blend
            blends each chunk with what is left of the last one, ahead-inpaint denoises it to agree with that.
        disturbance: what happens to the task's object meanwhile: push or belt.
        max_steps: control steps until an episode is given up; the task's own number by default.
        episodes: how many; episode i has seed SEED + i.
        seed: of the first episode's environment and noise.
        envs: environments planned together as one batch, in each worker; episodes run in groups of so many.
        workers: processes; the cores are shared out among them.
        videos: how many of the first episodes to film.
        checkpoint: a pretrained policy's name or a checkpoint's directory; the task's own pretrained policy by default.
        device: where the network computes: cpu or cuda.
        engine: what computes it; auto takes the fastest that there is for the device.
        precision: of its arithmetic; bf16 is faster and changes plans a little.
        live: show the loop's timing while it runs; for one worker.
        trace: write when everything happened to trace.json, for ui.perfetto.dev; for one worker.
        out: the run's directory.
    """
    entry = find_task(task)
    if videos and (problem := entry.task.render_problem):
        console.print(f"no films: {problem}", markup=False)
        videos = 0
    if (live or trace) and workers > 1:
        raise ValueError("--live and --trace watch the loop of one process: leave out --workers")
    flags = {"window": window, "tolerance": tolerance, "split": split, "max-rounds": max_rounds}
    _check_flags(flags, choices := [SamplerChoice.parse(text) for text in sampler.split(",")])
    choices = [_with_flags(choice, flags) for choice in choices]
    config = RolloutConfig(
        task,
        choices[0],
        out,
        checkpoint=checkpoint,
        episodes=episodes,
        seed=seed,
        envs=envs,
        threads=max(1, cores() // workers),
        videos=videos,
        device=device,
        engine=engine,
        precision=precision,
        execute=execute,
        clock=ClockChoice.parse(clock),
        controller=controller,
        disturbance=disturbance,
        max_steps=max_steps,
    )
    configs = [replace(config, sampler=c, out=out / run_folder(c) if len(choices) > 1 else out) for c in choices]
    if len(configs) > 1:
        _check_parent(out, [one.out for one in configs])
    for one in configs:
        # A mistake in the last sampler should not wait for the first one's episodes.
        with console.status(f"loading {one.sampler}" + "; measuring what is fastest here" * one.sampler.measured):
            one.check()
            _, why = one.settled()
        if why:
            console.print(f"{one.sampler} is {why}")
    for one in configs:
        watcher = Watcher(1 / entry.task.control_hz)
        with _shown(live, one, watcher) as report:
            run(one, report, Local(workers) if workers > 1 else None, [watcher])
        if live:
            console.print(_tables(one, watcher))
        if trace and watcher.steps:
            watcher.timeline.write_trace(one.out / "trace.json")
            console.print(f"trace: {one.out / 'trace.json'}, to be opened at ui.perfetto.dev")
    comparison = compare({str(one.sampler): one.out for one in configs})
    console.print(comparison_table(comparison))
    plot_reward_against_latency(comparison, out / "comparison.png")
    write_report(
        out / "comparison.md",
        comparison.title,
        markdown_table(["", *(run.label for run in comparison.runs)], comparison.rows()) + "\n\n![](comparison.png)",
    )
    console.print(f"in {out}: comparison.md, comparison.png; per sampler summary.json, episodes.parquet, steps.parquet")
    _tell_of_films(configs, out)


def _tell_of_films(configs: list[RolloutConfig], out: Path) -> None:
    """Names the films, and puts those of the first seed side by side."""
    for film in sorted(out.glob("**/videos/*.mp4")):
        console.print(f"film: {film}")
    first = [found for one in configs if (found := film_of(one.out / "videos", one.seed))]
    if configs[0].videos and len(first) > 1:
        together = out / "side-by-side.mp4"
        side_by_side(first, together)
        console.print(f"film: {together}")


@contextmanager
def _shown(live: bool, config: RolloutConfig, watcher: Watcher) -> Iterator[Callable[[int], None]]:
    """A live view of the loop, or a progress bar."""
    if not live:
        with progress(f"{config.task} · {config.sampler}", config.episodes) as report:
            yield report
        return
    with live_view(lambda: _tables(config, watcher)) as watcher.on_change:
        yield lambda episodes: None


def _tables(config: RolloutConfig, watcher: Watcher) -> Group:
    counts = {
        f"episodes of {config.episodes}": watcher.episodes,
        "successes": watcher.successes,
        "control steps": watcher.steps,
        "over a control period": watcher.over,
        "held": watcher.held,
        "plans": watcher.plans,
        "unconverged": watcher.unconverged,
    }
    return Group(f"{config.task} · {config.sampler}", timing_table(watcher.timeline), count_table(counts))


def _check_parent(out: Path, runs: list[Path]) -> None:
    """Several runs go into folders of `out`: it must not be a run itself, nor hold anything but runs."""
    if (out / "run.json").exists():
        raise ValueError(f"{out} holds a run of one sampler; choose another --out for several")
    others = {p for p in out.iterdir() if p.is_dir()} - set(runs) if out.exists() else set()
    if out.exists() and any(out.iterdir()) and not any((p / "run.json").exists() for p in [*runs, *others]):
        raise ValueError(f"{out} is not empty and holds no runs; choose another --out")


def _check_flags(flags: dict[str, Any], choices: list[SamplerChoice]) -> None:
    for flag, value in flags.items():
        if value is not None and not any(flag in SAMPLERS[choice.family].options for choice in choices):
            raise ValueError(f"--{flag} is for none of the samplers named: {', '.join(map(str, choices))}")


def _with_flags(choice: SamplerChoice, flags: dict[str, Any]) -> SamplerChoice:
    """The choice with the flags added that its sampler knows; options in its own text win."""
    given = {k: v for k, v in flags.items() if v is not None and k in SAMPLERS[choice.family].options}
    return replace(choice, options=tuple(sorted((given | dict(choice.options)).items())))


def run_folder(choice: SamplerChoice) -> str:
    return str(choice).replace(":", "_").replace("=", "-")
