"""Plans of a policy for the stored observations, with fixed noise."""

import argparse
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from behaviour.recording import Values, below, load, save

OBSERVATIONS = Path(__file__).parent / "observations.npz"
ENVIRONMENTS = 8
# Where a plan's statistics are in what a command says of its plan: attributes of its own, or of a `PlanStats`.
STATISTICS = {name: (name, f"stats.{name}") for name in ("rounds", "evaluations", "residual", "converged")}


def stored_tasks() -> list[str]:
    return sorted({key.split("/")[0] for key in load(OBSERVATIONS)})


def stored_observations(task: str) -> list[list[dict[str, np.ndarray]]]:
    """Two control steps of each of eight environments: `[step][environment]`, key → `[n]`; see `observations.npz`."""
    of_task = {key.split("/")[1]: value for key, value in load(OBSERVATIONS).items() if key.startswith(f"{task}/")}
    return [
        [{key: value[environment, step] for key, value in of_task.items()} for environment in range(ENVIRONMENTS)]
        for step in range(2)
    ]


def record(checkpoint: str | Path, task: str, samplers: Sequence[str], environments: int = ENVIRONMENTS) -> Values:
    """Plans for the first environments in one batch, each with the noise of its own seed, on the eager engine.

    A controller that executes all of a chunk gives every action of its plan.
    """
    import torch

    from paradp.checkpoints import load_policy
    from paradp.policy import RecedingHorizon, act_together

    torch.set_num_threads(1)
    before, present = (steps[:environments] for steps in stored_observations(task))
    values: Values = {}
    for sampler in samplers:
        policy = load_policy(checkpoint, sampler, engine="eager")
        length = policy.spec.horizons.predict - policy.spec.horizons.observe + 1
        controllers = [RecedingHorizon(policy, execute=length) for _ in range(environments)]
        for seed, controller in enumerate(controllers):
            controller.reset(seed)
            controller.observe(before[seed])
        steps = [act_together(controllers, present) for _ in range(length)]
        assert not any(command.replan for commands in steps[1:] for command in commands)
        plan = {name: np.array([_statistic(command.replan, name) for command in steps[0]]) for name in STATISTICS}
        plan["actions"] = np.array([[command.action for command in commands] for commands in steps]).swapaxes(0, 1)
        values |= below(sampler, plan)
    return values


def _statistic(replan: Any, name: str) -> Any:
    for place in STATISTICS[name]:
        try:
            return attrgetter(place)(replan)
        except AttributeError:
            continue
    raise AttributeError(f"a plan's {name} are none of {', '.join(STATISTICS[name])}: name their new place in STATISTICS")


def main() -> None:
    parser = argparse.ArgumentParser(description="Record a policy's plans.")
    parser.add_argument("checkpoint")
    parser.add_argument("task")
    parser.add_argument("out", type=Path)
    parser.add_argument("samplers", nargs="+")
    options = parser.parse_args()
    save(record(options.checkpoint, options.task, options.samplers), options.out)
