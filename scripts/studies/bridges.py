"""Compares LeRobot's sampling of a checkpoint trained by LeRobot with paradp's: success, reward, latency of a plan."""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch

from paradp.bridges.facts import read_facts
from paradp.bridges.lerobot_config import read_config
from paradp.checkpoints import load_policy
from paradp.policy import DiffusionPolicy
from paradp.policy.files.limits import DOCUMENT_BYTES
from paradp.policy.files.reading import read_object
from paradp.policy.observations import Observation
from paradp.rollouts.expert_histories import expert_histories
from paradp.rollouts.machine import cores
from paradp.rollouts.statistics import bootstrap, interval, paired_bootstrap, paired_loss, wilson
from paradp.sampler.noise import noise_generator
from paradp.scripts.console import each
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.closed_loop import describe_loss
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.lerobot_episodes import ClosedEpisodes, our_episodes, their_episodes
from paradp.scripts.studies.lerobot_peer import LeRobotPeer
from paradp.scripts.studies.registry import study

CHECKPOINT = "checkpoint"  # in the folder of runs
BASELINE = "ddpm"
THEIRS = (BASELINE, "ddim-10")
OURS = ("speculative-ddpm:window=8", "sde-dpm-solver-7:spacing=sine")
# Only timed: their distributions equal those of samplers above with the same steps.
IN_PLACE = ("in place: auto",)
TIMED_ONLY = ("ddpm", "auto", "ddim-10")
EPISODES_HEADER = [
    "who samples",
    "sampler",
    "success (95 %)",
    "reward (95 %)",
    "success lost (95 %)",
    "reward − LeRobot's (95 %)",
]
LATENCY_HEADER = ["who samples", "sampler", "rounds", "ms a plan", "LeRobot's DDPM ÷ this", "LeRobot's DDIM-10 ÷ this"]
LEROBOT, PLACE, ENGINE = "LeRobot", "LeRobot's policy, `parallelize`", "paradp"


@dataclass
class Timed:
    """The timed plans of one sampling method.

    Attributes:
        repeats: median seconds of a plan in each turn.
        rounds: rounds of each plan, if they are counted.
    """

    repeats: list[float] = field(default_factory=list)
    rounds: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return median(self.repeats)


@study
def study_bridges(
    context: Context, episodes: int = 200, seed: int = 100_000, together: int = 25, repeats: int = 7, plans: int = 6
) -> None:
    """Writes OUT/bridges.md for PushT, and OUT/bridges-TASK.md for another task."""
    checkpoint, python = needs_lerobot(context)
    torch.set_num_threads(1)
    seeds, start = range(seed, seed + episodes), partial(LeRobotPeer, python, job(context.task, checkpoint))
    closed = {
        (ENGINE, name): our_episodes(context.task, context.runs, checkpoint, name, seeds, together)
        for name in each("our episodes", list(OURS))
    }
    for way, found in their_episodes(start, cores(), context.runs, THEIRS, seeds, together).items():
        closed[_named(way)] = found
    with start() as peer:
        timed = _time(context, peer, repeats, plans)
        software = ", ".join(f"{name} {number}" for name, number in peer.versions().items())
    channels = ", ".join(map(str, read_config(checkpoint).down_dims))
    body = f"""
One checkpoint, trained by LeRobot's own trainer on demonstrations that `paradp data export` wrote ({context.task};
U-Net with {channels} channels, DDPM with 100 steps; {_trained(checkpoint)}). It is sampled by
LeRobot's own `select_action`, by LeRobot's policy after `parallelize(policy)`, and by paradp from the same files.

{_episodes_page(closed, seeds, together)}

{_latency_page(timed, repeats, plans)}

LeRobot's half: {software}.
"""
    write_report(
        context.out / page_name(context.task), "A policy that LeRobot trained, sampled by LeRobot and by paradp", body
    )


def needs_lerobot(context: Context) -> tuple[Path, Path]:
    """The policy that LeRobot trained, and LeRobot's interpreter.

    Raises:
        ValueError: one is not given.
    """
    checkpoint, python = context.runs / CHECKPOINT, context.lerobot_python
    if python is None or not checkpoint.is_dir():
        raise ValueError(
            f"a policy that LeRobot trained is needed in {checkpoint}, with its paradp.yaml, and with --lerobot-python the"
            " interpreter of an environment that has LeRobot"
        )
    return checkpoint, python


def page_name(task: str) -> str:
    """The page's name; that of PushT has no task in it, because it was the first."""
    return "bridges.md" if task == "pusht" else f"bridges-{task}.md"


def _trained(checkpoint: Path) -> str:
    """Describes the training, from LeRobot's record of it."""
    path = checkpoint / "train_config.json"
    if not path.exists():
        return "no record of the training"
    said = read_object(path, DOCUMENT_BYTES)
    steps, batch, rate = said.get("steps"), said.get("batch_size"), (said.get("optimizer") or {}).get("lr")
    return f"{steps} steps of batch {batch}, learning rate {rate}"


def job(task: str, checkpoint: Path) -> dict[str, object]:
    """The settings of LeRobot's half of the study.

    Raises:
        ValueError: the policy is for another task.
    """
    facts, config = read_facts(checkpoint), read_config(checkpoint)
    if facts.task != task:
        raise ValueError(f"{checkpoint} is a policy for {facts.task}, but the study is of {task}")
    said = {key: (facts.observation or {}).get(key, key) for key in config.seen}
    parts = {key: [one] if isinstance(one, str) else list(one) for key, one in said.items()}
    # Simulators run by this interpreter, which has them.
    simulator = {"task": task, "python": sys.executable, "action_convention": facts.action_convention}
    return {"checkpoint": str(checkpoint.resolve()), "observation": parts, "simulator": simulator}


def _named(way: str) -> tuple[str, str]:
    return (PLACE, way.removeprefix("in place: ")) if way in IN_PLACE else (LEROBOT, way)


def _time(context: Context, peer: LeRobotPeer, repeats: int, plans: int) -> dict[tuple[str, str], Timed]:
    """Times plans for one robot in turns; each block of plans follows one that is not timed."""
    samplers = dict.fromkeys((*OURS, *TIMED_ONLY))
    policies = {name: load_policy(context.runs / CHECKPOINT, name) for name in each("samplers", list(samplers))}
    spec = next(iter(policies.values())).spec
    every = expert_histories(spec, plans * repeats, seed=30_000, every=40)
    histories = [{key: values[i] for key, values in every.items()} for i in range(plans * repeats)]
    ways: dict[tuple[str, str], Callable[[list[Observation]], dict[str, list[float]]]] = {}
    for way in (*THEIRS, *IN_PLACE):
        ways[_named(way)] = lambda seen, way=way: peer.plans(way, seen)  # type: ignore[misc]
    for name, policy in policies.items():
        ways[ENGINE, _called(name, policy)] = lambda seen, policy=policy: _plans(policy, seen)  # type: ignore[misc]
    timed = {name: Timed() for name in ways}
    for turn in each("turns", list(range(repeats))):
        seen = histories[turn * plans : (turn + 1) * plans]
        for name, plan in _turned(ways, turn):
            plan(seen[:1])
            found = plan(seen)
            timed[name].repeats.append(median(found["seconds"]))
            timed[name].rounds += found["rounds"]
    return timed


def _turned(ways: dict, turn: int) -> Iterator[tuple]:
    """Rotates the methods, so that a different one is first in each turn."""
    names = list(ways)
    for i in range(len(names)):
        name = names[(i + turn) % len(names)]
        yield name, ways[name]


def _called(name: str, policy: DiffusionPolicy) -> str:
    """A sampler's name; for `auto` with its choice."""
    return name if policy.planned is None else f"{name}: {policy.planned.sampler}"


def _plans(policy: DiffusionPolicy, histories: list[Observation]) -> dict[str, list[float]]:
    seconds, rounds = [], []
    for i, seen in enumerate(histories):
        started = time.perf_counter()
        plan = policy.plan({key: values[None] for key, values in seen.items()}, [noise_generator(i)])
        seconds.append(time.perf_counter() - started)
        rounds.append(float(plan.stats.rounds[0]))
    return {"seconds": seconds, "rounds": rounds}


def _episodes_page(closed: dict[tuple[str, str], ClosedEpisodes], seeds: range, together: int) -> str:
    base = closed[LEROBOT, BASELINE]
    # Where a reward is success, its columns would repeat those of success.
    graded = any(found.reward[one] != found.success[one] for found in closed.values() for one in seeds)
    rows: list[list[str]] = []
    for (who, sampler), found in closed.items():
        success, reward = [found.success[one] for one in seeds], [found.reward[one] for one in seeds]
        cells = [interval(wilson(sum(success), len(success))), *[interval(bootstrap(reward))] * graded]
        if found is base:
            rows.insert(0, [who, f"`{sampler}`", *cells, "baseline", *["baseline"] * graded])
            continue
        lost = describe_loss(paired_loss(base.success, found.success)).partition(", n=")[0]
        difference = paired_bootstrap(reward, [base.reward[one] for one in seeds])
        rows.append([who, f"`{sampler}`", *cells, lost, *[interval(difference)] * graded])
    header = [name for name in EPISODES_HEADER if graded or "reward" not in name]
    return f"""\
## Episodes

{len(seeds)} episodes of each, on the same seeds ({seeds.start} to {seeds[-1]}), {together} side by side; noise is drawn
independently. *Success lost* is against LeRobot's own DDPM on the same seeds, with its interval and one-sided 95 % bound.

{markdown_table(header, rows)}"""


def _latency_page(timed: dict[tuple[str, str], Timed], repeats: int, plans: int) -> str:
    rows = []
    for (who, sampler), found in timed.items():
        rounds = f"{np.mean(found.rounds):.1f}" if found.rounds else ""
        rows.append(
            [who, f"`{sampler}`", rounds, f"{1000 * found.seconds:.1f}"]
            + [ratio(timed[LEROBOT, way], found) for way in THEIRS]
        )
    return f"""\
## Latency of a plan

One robot, one thread, from the observation to the actions, including normalisation; measured in turns in one run. Times are
medians of {repeats} turns, each the median of {plans} plans after a warm-up plan; ratios are formed within a turn, with
their median and range. *Rounds* are sequential calls of the network. LeRobot uses eager PyTorch, as does the policy
sampled in place; paradp has its own engine.

{markdown_table(LATENCY_HEADER, rows)}"""


def ratio(theirs: Timed, found: Timed) -> str:
    """The ratio of times in the same repeat: median, and the range."""
    ratios = [one / other for one, other in zip(theirs.repeats, found.repeats, strict=True)]
    return f"{median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
