"""Compares the compiled control step with robosuite's: equality and speed."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from paradp.envs import ACTION_CONVENTIONS, RobosuiteTask, TaskEntry, all_tasks
from paradp.envs.compiled.operational_space import mujoco_steps
from paradp.envs.simulators import COMPILED, ORIGINAL
from paradp.policy.files import write_whole
from paradp.rollouts.episodes.environments import EnvironmentConfig, Environments, make_envs
from paradp.rollouts.machine import cores
from paradp.rollouts.workers import Workers
from paradp.scripts.console import each
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.by_simulator import COMMANDS, CommandCompared, compare_command
from paradp.scripts.studies.by_simulator import REPEATS as COMMAND_REPEATS
from paradp.scripts.studies.context import SHIPPED, Context
from paradp.scripts.studies.registry import study
from paradp.scripts.studies.same_physics import (
    EPISODES,
    EQUAL,
    FIRST_SEED,
    RANDOM_STEPS,
    SHAKE,
    SHAKES,
    SHARE,
    Equality,
    compare,
    controllers,
    environments,
    make_controller,
)
from paradp.scripts.studies.turns import Ratio

REPEATS, MOST_STEPS = 7, 150
ENVIRONMENTS, STEPS_TOGETHER = 10, 60


@dataclass(frozen=True)
class Speed:
    """Control steps per second on one core, medians.

    Attributes:
        robosuite: the environment's whole step, with robosuite's control step and success rule.
        ours: the same with the compiled control step.
        ceiling: MuJoCo's simulator steps alone, from the same states.
        ratio: ours over robosuite's.
        share: ours over the ceiling.
    """

    robosuite: float
    ours: float
    ceiling: float
    ratio: Ratio
    share: Ratio


@dataclass(frozen=True)
class Threads:
    """Control steps per second of `ENVIRONMENTS` environments together, stepped by one thread and by two; medians."""

    one: float
    two: float
    ratio: Ratio


@dataclass(frozen=True)
class Figures:
    """All results: equality by task, convention and controller; speed by task; threads; whole commands."""

    equality: dict[str, Equality]
    speed: dict[str, Speed]
    threads: Threads
    commands: list[CommandCompared]


@study
def study_simulator(context: Context) -> None:
    """Writes OUT/simulator.md and simulator.json, for all tasks of robosuite."""
    entries = {name: entry for name, entry in all_tasks().items() if isinstance(entry.task, RobosuiteTask)}
    speed = {name: _speed(entries[name]) for name in each("speed", list(entries))}
    threads = _threads()
    cases = {
        f"{name} {convention} {controller}": (name, convention, controller)
        for name, entry in entries.items()
        for convention in entry.task.conventions
        for controller in controllers(entry, convention)
    }
    with Workers(cores()) as pool:
        pending = {label: pool.submit(compare, *case) for label, case in cases.items()}
        equality = {label: pending[label].result() for label in each("equality", list(cases))}
    commands = [compare_command(name) for name in each("commands", list(COMMANDS))]
    figures = Figures(equality, speed, threads, commands)
    write_report(context.out / "simulator.md", "The compiled control step beside robosuite's", _page(figures))
    write_whole(context.out / "simulator.json", TypeAdapter(Figures).dump_json(figures, indent=2) + b"\n")


def _page(figures: Figures) -> str:
    sections = (
        _speed_section(figures.speed),
        _threads_section(figures.threads),
        _commands_section(figures.commands),
        _equality_section(figures.equality),
    )
    return "\n\n".join(sections)


_SPEED = ["task", "robosuite", "compiled", "MuJoCo alone", "compiled / robosuite", "compiled / MuJoCo alone"]


def _speed_section(speed: dict[str, Speed]) -> str:
    rows = [
        [name, f"{one.robosuite:.0f}", f"{one.ours:.0f}", f"{one.ceiling:.0f}", _text(one.ratio), _text(one.share)]
        for name, one in speed.items()
    ]
    return f"""\
**Speed.** Control steps per second of the whole environment (`env.step` with observation, reward and success) on one core,
measured in turns with the same actions: those of an expert's episode, at most {MOST_STEPS}, or random ones for tasks without
an expert. Medians of {REPEATS} repeats; ratios with the middle half of the repeats. *MuJoCo alone* runs the same number of
simulator steps from the same states, without a controller: no control step can be faster.

{markdown_table(_SPEED, rows)}"""


def _threads_section(together: Threads) -> str:
    return f"""\
{ENVIRONMENTS} environments of Square in one process, {STEPS_TOGETHER} control steps each: {together.one:.0f} control steps a
second by one thread, {together.two:.0f} by two, ratio {_text(together.ratio)}."""


_COMMANDS = ["command", "robosuite, s", "compiled, s", "ratio", "same length and success"]


def _commands_section(commands: Sequence[CommandCompared]) -> str:
    rows = [
        [f"`{one.command}`", f"{one.robosuite:.0f}", f"{one.ours:.0f}", _text(one.ratio), f"{one.same} of {one.outcomes}"]
        for one in commands
    ]
    return f"""\
**Whole commands**, wall-clock from start to end, medians of {COMMAND_REPEATS} runs in turns; both draw the same scenes.

{markdown_table(_COMMANDS, rows)}"""


_EQUALITY = ["task", "actions", "controller", "steps", "worst", "over", "unexplained", "free runs", "same end", "shaken"]


def _equality_section(equality: dict[str, Equality]) -> str:
    rows = [
        [
            *case.split(),
            f"{one.steps}",
            f"{one.worst:.0e}",
            f"{one.departed}",
            f"{one.unexplained}",
            f"{one.equal} + {one.explained} of {one.episodes}",
            f"{one.same_end}",
            f"{one.same_end_shaken}",
        ]
        for case, one in equality.items()
    ]
    return f"""\
**Equality.** {EPISODES} episodes each (seeds from {FIRST_SEED}) by the expert with the noise of `paradp collect`, by random
goals ({RANDOM_STEPS} steps) and by the policy {SHIPPED} (DDIM-10).

- *Steps*: control steps, each started from robosuite's own state. *Worst*: the largest difference of a position or velocity
  after a step (m, rad, and per second). *Over*: number of steps with a difference above {EQUAL:.0e}. Contacts amplify
  rounding: in a step where a finger begins to slip, a difference in the last bit grows by a factor of a billion.
- *Unexplained*: number of those whose difference is more than {1 / SHARE:.0f} times that of robosuite's own step from a
  state perturbed by {SHAKE:.0e}, for all of {SHAKES} directions.
- *Free runs*: number of runs that stay within {EQUAL:.0e} to their end, plus the number of runs that differ no earlier and
  no further than robosuite itself does in one of {SHAKES} runs with a perturbation of {SHAKE:.0e} in every step.
- *Same end*: number of runs with the same success and length; *shaken*: the same for the first of the perturbed runs.

{markdown_table(_EQUALITY, rows)}"""


def _speed(entry: TaskEntry) -> Speed:
    convention = entry.task.conventions[0]
    with environments(entry, convention, (ORIGINAL, COMPILED)) as (original, ours):
        actions = _actions(entry, original)
        times = [(_timed(original, actions), _timed(ours, actions), _bare(ours, actions)) for _ in range(REPEATS)]
    theirs, compiled, bare = np.array(times).T
    return Speed(
        robosuite=_rate(len(actions), theirs),
        ours=_rate(len(actions), compiled),
        ceiling=_rate(len(actions), bare),
        ratio=Ratio.of(theirs, compiled),
        share=Ratio.of(bare, compiled),
    )


def _threads() -> Threads:
    places = [make_envs(EnvironmentConfig("square"), ENVIRONMENTS, threads) for threads in (1, 2)]
    one, two = np.array([[_together(envs) for envs in places] for _ in range(REPEATS)]).T
    for envs in places:
        envs.close()
    steps = ENVIRONMENTS * STEPS_TOGETHER
    return Threads(one=_rate(steps, one), two=_rate(steps, two), ratio=Ratio.of(one, two))


def _together(envs: Environments) -> float:
    """Steps all environments `STEPS_TOGETHER` times with holding commands; returns the seconds."""
    observations = envs.reset({place: FIRST_SEED + place for place in range(ENVIRONMENTS)})
    actions = {place: ACTION_CONVENTIONS["absolute"].hold(None, seen) for place, seen in observations.items()}
    started = time.perf_counter()
    for _ in range(STEPS_TOGETHER):
        envs.step(actions)
    return time.perf_counter() - started


def _rate(steps: int, seconds: np.ndarray) -> float:
    """Control steps per second, from the median of the repeats."""
    return steps / float(np.median(seconds))


def _text(ratio: Ratio) -> str:
    return f"{ratio.median:.2f} ({ratio.low:.2f}–{ratio.high:.2f})"


def _actions(entry: TaskEntry, env: Any) -> list[np.ndarray]:
    """The actions of an expert's episode, or random goals for tasks without an expert."""
    actor = make_controller(entry, entry.task.conventions[0], "random" if entry.expert is None else "expert")
    observation, _ = env.reset(seed=FIRST_SEED)
    actor.reset(FIRST_SEED)
    actions: list[np.ndarray] = []
    while len(actions) < MOST_STEPS:
        actions.append(actor.act(observation).action)
        observation, _, ended, *_ = env.step(actions[-1])
        if ended:
            break
    return actions


def _timed(env: Any, actions: Sequence[np.ndarray]) -> float:
    env.reset(seed=FIRST_SEED)
    started = time.perf_counter()
    for action in actions:
        env.step(action)
    return time.perf_counter() - started


def _bare(env: Any, actions: Sequence[np.ndarray]) -> float:
    """The seconds of MuJoCo's simulator steps alone, from the state at the beginning of each control step."""
    import mujoco  # after paradp has chosen its OpenGL

    model, data = env._sim.model._model, env._sim.data._data
    scratch = mujoco.MjData(model)
    substeps = int(env._robosuite.control_timestep / env._robosuite.model_timestep)
    env.reset(seed=FIRST_SEED)
    seconds = 0.0
    for action in actions:
        mujoco.mj_copyData(scratch, model, data)
        started = time.perf_counter()
        mujoco_steps(model._address, scratch._address, substeps)
        seconds += time.perf_counter() - started
        env.step(action)
    return seconds
