"""Where the time of a control step goes."""

import time
from collections.abc import Callable
from typing import Any

import torch

from paradp.checkpoints import load_policy
from paradp.policy import RecedingHorizon
from paradp.rollouts import run_episodes
from paradp.rollouts.environments import make_envs
from paradp.rollouts.overhead import measure_overhead
from paradp.rollouts.run import warm_up
from paradp.scripts.planning_time import TimedEngine
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.context import Context


class Stopwatch:
    """Adds up the time spent inside a function."""

    def __init__(self, function: Callable[..., Any]):
        self._function = function
        self.seconds = 0.0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return self._function(*args, **kwargs)
        finally:
            self.seconds += time.perf_counter() - started


def study_loop_cost(context: Context, episodes: int = 2, seed: int = 40_000, repeats: int = 5) -> None:
    """Writes OUT/TASK-loop-cost.md."""
    task, out = context.task, context.out
    torch.set_num_threads(1)
    rows = []
    for sampler in ("ddpm", "para-ddpm"):
        policy = load_policy(task, sampler, engine="eager")
        envs = make_envs(task, 1, policy.spec.action_convention)
        warm_up(policy, envs)
        network, plan = TimedEngine(policy.engine), Stopwatch(policy.plan)
        policy.engine = network
        policy.plan = plan  # type: ignore[method-assign]
        simulator = Stopwatch(envs.envs[0].unwrapped._robosuite.step)  # type: ignore[attr-defined]
        envs.envs[0].unwrapped._robosuite.step = simulator  # type: ignore[attr-defined]
        done = list(run_episodes(envs, [RecedingHorizon(policy)], range(seed, seed + episodes)))
        envs.close()
        total, steps = sum(e.seconds for e in done), sum(len(e.steps) for e in done)
        parts = {
            "network": network.seconds,
            "sampler outside the network": plan.seconds - network.seconds,
            "simulator": simulator.seconds,
            "loop, records, observations": total - plan.seconds - simulator.seconds,
        }
        for name, seconds in parts.items():
            rows.append([sampler, name, f"{1000 * seconds / steps:.3f}", f"{seconds / total:.1%}"])
    overhead = measure_overhead(task, repeats=repeats)
    body = f"""
{episodes} episodes of {task} (seeds from {seed}), one environment, PyTorch eager on one thread.

{markdown_table(["sampler", "part", "ms a control step", "share"], rows)}

With a controller of no cost the loop runs at {overhead.looped:.0f} control steps a second, the bare simulator at
{overhead.bare:.0f} (medians of {repeats} measurements in turns, one core): **{overhead.ratio:.1%}**.
"""
    write_report(out / f"{task}-loop-cost.md", f"{task}: where the time of a control step goes", body)
