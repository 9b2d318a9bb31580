"""Every parallel sampler on one policy and the same observations and noise: rounds, evaluations, error."""

from pathlib import Path

import numpy as np
import torch

from paradp.checkpoints import load_policy
from paradp.sampler import NoisePath, SamplerChoice, Speculative
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.observations import expert_histories

# Each with the sequential sampler that it must equal on the same noise; none for the solver that equals it in law only.
SAMPLERS = {
    "para-ddpm": "ddpm",
    "para-ddpm:tolerance=0.01": "ddpm",
    "para-ddpm:anderson=2": "ddpm",
    "para-ddpm:split=linear": "ddpm",
    "para-ddpm:split=linear:tolerance=0.03": "ddpm",
    "para-ddpm:split=linear:tolerance=0.01": "ddpm",
    "para-ddpm:split=linear:window=5": "ddpm",
    "para-ddim-15": "ddim-15",
    "para-ddim-15:tolerance=0.001": "ddim-15",
    "para-dpm-solver-15": "dpm-solver-15",
    "para-dpm-solver-15:tolerance=0.001": "dpm-solver-15",
    "speculative-ddpm:draft=frozen:gain=0": "",
    "speculative-ddpm:gain=0": "",
    "speculative-ddpm": "",
    "speculative-ddpm:window=4": "",
    "speculative-ddpm:window=50": "",
    "speculative-ddpm:window=100": "",
}


def study_solvers(task: str, out: Path, observations: int = 64, seed: int = 20_000) -> None:
    """Writes OUT/TASK-solvers.md."""
    policy = load_policy(task, "ddpm")
    condition = policy.condition(expert_histories(policy, observations, seed))
    shape = (policy.spec.horizons.predict, policy.spec.action_size)
    samples: dict[str, torch.Tensor] = {}
    rows = []
    for name in [*dict.fromkeys(filter(None, SAMPLERS.values())), *SAMPLERS]:
        solver = SamplerChoice.parse(name).build(policy.spec.schedule)
        noise = NoisePath.draw([torch.Generator().manual_seed(i) for i in range(observations)], solver.table.steps, shape)
        solution = solver.solve(policy.network, condition, noise)
        samples[name] = solution.sample
        rounds, evaluations = solution.stats.rounds.double(), solution.stats.evaluations.double()
        row = [f"`{name}`", f"{rounds.mean():.1f}", f"{int(rounds.max())}", f"{evaluations.mean():.0f}"]
        if reference := SAMPLERS.get(name):
            error = (solution.sample - samples[reference]).abs().amax((1, 2)).numpy()
            row += [f"{np.median(error):.1e}", f"{np.percentile(error, 99):.1e}"]
        else:
            row += ["exact law", ""] if isinstance(solver, Speculative) else ["reference", ""]
        rows.append(row)
    header = ["sampler", "rounds a chunk", "most", "evaluations", "error, median", "99th percentile"]
    body = f"""
The shipped {task} policy on {observations} observations of the scripted expert's episodes (seeds from {seed}), all as one
batch, each with the same noise path for all samplers. The error of a chunk is the largest absolute difference to the
sequential sampler of the same steps on the same noise, over the whole horizon, in normalised units. Speculative sampling has
the law of sequential DDPM and not its sample.

{markdown_table(header, rows)}
"""
    write_report(out / f"{task}-solvers.md", f"{task}: the parallel samplers side by side", body)
