"""Measures the parts of a control step's time: simulator, network, sampler and loop."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from paradp.checkpoints import load_policy
from paradp.policy import DiffusionPolicy, EngineName, RecedingHorizon
from paradp.policy.engines.timing import time_call
from paradp.rollouts import run_episodes
from paradp.rollouts.episodes.environments import EnvironmentConfig, make_envs
from paradp.rollouts.episodes.group_runner import warm_up
from paradp.rollouts.episodes.records import Episode
from paradp.scripts.baselines import PlainNetwork, UsualLoop
from paradp.scripts.console import each
from paradp.scripts.contenders import USUAL, TimedEngine
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.overhead import Overhead, measure_overhead
from paradp.scripts.studies.registry import study


class Stopwatch:
    """Sums the time spent inside a function."""

    def __init__(self, function: Callable[..., Any]):
        self._function = function
        self.seconds = 0.0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return self._function(*args, **kwargs)
        finally:
            self.seconds += time.perf_counter() - started


# Sampler and engine; the usual loop first.
STACKS: tuple[tuple[str, EngineName], ...] = (
    (USUAL, "eager"),
    ("ddpm", "eager"),
    ("para-ddpm", "eager"),
    ("ddpm", "auto"),
    ("para-ddpm", "auto"),
    ("auto", "auto"),
    ("auto-fast", "auto"),
)


@dataclass(frozen=True)
class StepCost:
    """The time of a control step of one stack in closed loop.

    Attributes:
        name: sampler and engine.
        parts: part → seconds per control step.
        plan_ms: median latency of a plan.
        ceiling: control steps per second of the simulator and the network calls alone.
    """

    name: str
    parts: dict[str, float]
    plan_ms: float
    ceiling: float

    @property
    def steps_per_second(self) -> float:
        """Control steps per second."""
        return 1 / sum(self.parts.values())


@study
def study_loop_cost(context: Context, episodes: int = 3, seed: int = 40_000, repeats: int = 5) -> None:
    """Writes OUT/TASK-loop-cost.md."""
    task, out = context.task, context.out
    torch.set_num_threads(1)
    overhead = measure_overhead(task, repeats=repeats)
    stacks = [_Stack(task, sampler, engine) for sampler, engine in STACKS]
    for one in each(f"{task}, seeds", range(seed, seed + episodes)):
        for stack in stacks:
            stack.run(one)
    costs = [stack.cost(overhead) for stack in stacks]
    usual = costs[0].steps_per_second
    speed = [
        [
            cost.name,
            f"{cost.steps_per_second:.1f}",
            f"{cost.steps_per_second / usual:.1f}",
            f"{cost.ceiling:.1f}",
            f"{cost.steps_per_second / cost.ceiling:.0%}",
            f"{cost.plan_ms:.1f}",
        ]
        for cost in costs
    ]
    parts = [
        [cost.name, name, f"{1000 * seconds:.3f}", f"{seconds * cost.steps_per_second:.1%}"]
        for cost in costs
        for name, seconds in cost.parts.items()
    ]
    body = f"""
{episodes} episodes of {task} (seeds from {seed}) with each in turns, one environment, one thread. `usual` is diffusers'
`DDPMScheduler.step` around the network in eager PyTorch. The ceiling consists only of the simulator and the network calls,
each timed alone.

{markdown_table(["sampler, engine", "steps a second and core", "× usual", "ceiling", "of it", "plan p50 ms"], speed)}

{markdown_table(["sampler, engine", "part", "ms a control step", "share"], parts)}

With a controller that takes no time, the loop runs at {overhead.looped:.0f} control steps per second, and the simulator
alone at {overhead.bare:.0f} (medians of {repeats} measurements in turns, one core): **{overhead.ratio:.1%}**.
"""
    write_report(out / f"{task}-loop-cost.md", f"{task}: where the time of a control step goes", body)


class _Stack:
    """A policy in closed loop, with stopwatches around its parts."""

    def __init__(self, task: str, sampler: str, engine: EngineName):
        policy = self.policy = _policy(task, sampler, engine)
        self._sampler, self._computes = sampler, policy.engine
        self._envs = make_envs(EnvironmentConfig(task, policy.spec.action_convention), 1)
        warm_up(policy, self._envs)
        policy.engine = self._network = TimedEngine(policy.engine)
        policy.plan = self._plan = Stopwatch(policy.plan)  # type: ignore[method-assign]
        env: Any = self._envs.envs[0].unwrapped
        env.simulate = self._simulator = Stopwatch(env.simulate)
        self._episodes: list[Episode] = []

    def run(self, seed: int) -> None:
        self._episodes += run_episodes(self._envs, [RecedingHorizon(self.policy)], [seed])

    def cost(self, overhead: Overhead) -> StepCost:
        self._envs.close()
        total, steps = sum(e.seconds for e in self._episodes), sum(len(e.steps) for e in self._episodes)
        network, plan, simulator = self._network.seconds, self._plan.seconds, self._simulator.seconds
        parts = {
            "network": network,
            "sampler outside the network": plan - network,
            "simulator": simulator,
            "loop, records, observations": total - plan - simulator,
        }
        plans = [step.replan.stats for episode in self._episodes for step in episode.steps if step.replan]
        rounds = sum(plan.rounds for plan in plans)
        rows = round(sum(plan.evaluations for plan in plans) / rounds)
        calls = rounds * time_call(self._computes, self.policy.spec, self.policy.device, rows) / steps
        chosen = f" ({self.policy.planned.sampler})" if self.policy.planned else ""
        return StepCost(
            f"{self._sampler}{chosen}, {self._computes.name}",
            {name: seconds / steps for name, seconds in parts.items()},
            1000 * median(plan.timing.seconds for plan in plans),
            1 / (1 / overhead.bare + calls),
        )


def _policy(task: str, sampler: str, engine: EngineName) -> DiffusionPolicy:
    if sampler != USUAL:
        return load_policy(task, sampler, engine=engine)
    policy = load_policy(task, "ddpm", engine=engine)
    policy.solver = UsualLoop(policy.spec.schedule, policy.solver.table)
    policy.engine = PlainNetwork(policy.network)
    return policy
