"""Compares all parallel samplers on one policy: rounds, evaluations, error on the same noise, and success if it was run."""

from paradp.checkpoints import find_checkpoint, load_policy, read_info
from paradp.scripts.console import each
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.bench import COST_HEADER, Bench
from paradp.scripts.studies.closed_loop import LOOP_HEADER, ClosedLoops
from paradp.scripts.studies.context import SHIPPED, Context
from paradp.scripts.studies.registry import study

SAMPLERS = (
    "ddpm",
    "para-ddpm:window=5",
    "para-ddpm:window=10",
    "para-ddpm",
    "para-ddpm:window=50",
    "para-ddpm:window=100",
    "para-ddpm:anderson=2",
    "para-ddpm:split=linear:window=5",
    "para-ddpm:split=linear",
    "para-ddpm:split=linear:tolerance=0.03",
    "para-ddpm:split=linear:tolerance=0.01",
    "ddim-15",
    "para-ddim-15",
    "para-ddim-15:tolerance=0.001",
    "dpm-solver-15",
    "para-dpm-solver-15",
    "para-dpm-solver-15:tolerance=0.001",
    "speculative-ddpm:draft=frozen:data-variance=0",
    "speculative-ddpm:draft=picard:data-variance=0",
    "speculative-ddpm:draft=picard",
    "speculative-ddpm:window=4",
    "speculative-ddpm:window=10",
    "speculative-ddpm",
    "speculative-ddpm:window=50",
    "speculative-ddpm:window=100",
)


@study
def study_solvers(context: Context) -> None:
    """Writes TASK-solvers.md."""
    bench = Bench(load_policy(context.task, "ddpm"))
    loops = ClosedLoops(context.runs, bench.policy, read_info(find_checkpoint(context.task)).model_sha256)
    usual = bench.measure("para-ddpm")
    rows = []
    for name in each(f"{context.task}, samplers", SAMPLERS):
        measured = bench.measure(name)
        ratios = [measured.rounds.mean() / usual.rounds.mean(), measured.evaluations.mean() / usual.evaluations.mean()]
        rows.append([f"`{name}`", *measured.cells(), *(f"{ratio:.2f}" for ratio in ratios), *loops.cells(name)])
    header = ["sampler", *COST_HEADER, "rounds ÷ para-ddpm's", "evaluations ÷ para-ddpm's", *LOOP_HEADER]
    body = f"""
The {context.task} policy {SHIPPED}. The columns up to the ratios are for {bench.describe()} Speculative sampling has the
distribution of sequential DDPM, but other samples.

The other columns are for closed-loop episodes on the same seeds for all samplers (`paradp rollout {context.task} --sampler …
--episodes 200 --seed 100000 --envs 20`, ideal clock); they are empty if these were not run. In closed loop, a speculative
sampler uses the last plan, shifted by the executed actions, as its first guess; in the columns on the left it has no first
guess. The loss to a baseline is a paired difference in success on the same seeds, with its 95 % interval and the one-sided
95 % bound.

{markdown_table(header, rows)}
"""
    write_report(context.out / f"{context.task}-solvers.md", f"{context.task}: the parallel samplers side by side", body)
