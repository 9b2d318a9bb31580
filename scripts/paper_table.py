"""Repeats ParaDiGMS' robotics table (Shih et al., NeurIPS 2023), with the paper's figures for comparison."""

from dataclasses import dataclass

from paradp.checkpoints import find_checkpoint, pretrained, read_info
from paradp.envs import find_task
from paradp.policy.wording import counted
from paradp.rollouts.evaluation.comparison import ComparedRun, Comparison
from paradp.rollouts.statistics import interval
from paradp.scripts.lists import PAIRS, PAPER_SAMPLERS

HEADER = ["sampler", "model evals", "parallel iters", "reward (95 %)", "time per episode", "speed-up",
          "paper: evals, iters", "paper: reward", "paper: time per episode", "paper: speed-up"]  # fmt: skip


@dataclass(frozen=True)
class PublishedRow:
    """A row of the paper; unknown values are `None`."""

    seconds: float | None = None
    reward: float | None = None
    evaluations: int | None = None
    rounds: int | None = None


# 200 episodes, window 20, tolerance 0.1, on an A40. Quoted from memory, not copied from the paper's table.
PUBLISHED = {
    "square": {
        "ddpm": PublishedRow(37.0, 0.85, 100),
        "para-ddpm": PublishedRow(10.0, 0.85, 392, 25),
        "ddim-15": PublishedRow(5.72),
        "para-ddim-15": PublishedRow(3.58),
        "dpm-solver-15": PublishedRow(5.80),
        "para-dpm-solver-15": PublishedRow(3.28),
    },
    "pusht": {
        "ddpm": PublishedRow(32.3, 0.81, 100),
        "para-ddpm": PublishedRow(8.33, 0.83, 386, 24),
        "ddim-15": PublishedRow(4.22),
        "para-ddim-15": PublishedRow(2.54),
        "dpm-solver-15": PublishedRow(4.22),
        "para-dpm-solver-15": PublishedRow(2.15),
    },
    "kitchen": {
        "ddpm": PublishedRow(112.0, 0.85, 100),
        "para-ddpm": PublishedRow(33.3, 0.84, 390, 25),
        "para-ddim-15": PublishedRow(rounds=7),
        "para-dpm-solver-15": PublishedRow(rounds=6),
    },
}

# Tasks whose rewards have another scale in the paper.
_REWARD_SCALES = {"kitchen": " The paper's rewards are between 0 and 1; ours count completed subtasks, at most 4."}


def paper_rows(comparison: Comparison) -> list[list[str]]:
    """The table's rows; none if a sampler of the table is not among the cells."""
    runs = {run.sampler: run for run in comparison.runs if _as_in_the_paper(run)}
    if not runs.keys() >= set(PAPER_SAMPLERS):
        return []
    published = PUBLISHED.get(comparison.runs[0].summary.task, {})
    rows = []
    for sequential, parallel in PAIRS:
        rows.append([*_measured(runs[sequential], None), *_published_cells(published, sequential, None)])
        rows.append([*_measured(runs[parallel], runs[sequential]), *_published_cells(published, parallel, sequential)])
    return rows


def _as_in_the_paper(run: ComparedRun) -> bool:
    """Whether the simulation waits and there is no disturbance."""
    return (run.summary.clock, run.summary.disturbance, run.summary.controller) == ("ideal", None, "sync")


def paper_remark(comparison: Comparison) -> str:
    """A remark on the differences from the paper."""
    first = comparison.runs[0].summary
    machine = f"{first.hardware['cpu']}, {counted(first.hardware['cores'], 'core')}"
    task = find_task(first.task).task
    packages = ", ".join(f"{name} {first.versions[name]}" for name in task.packages if name in first.versions)
    shipped = first.checkpoint["sha256"] in {read_info(find_checkpoint(name)).model_sha256 for name in pretrained()}
    learned = "the policy learned from scripted demonstrations, not from people's; " if shipped else ""
    source = " The paper's figures are quoted from memory." if first.task in PUBLISHED else " The paper has no such task."
    source += _REWARD_SCALES.get(first.task, "")
    return (
        "ParaDiGMS' robotics table in its own columns: window 20, tolerance 0.1; time per episode of one robot, simulation"
        f" included, by the steps of five episodes, one sampler after another; speed-up: of that time.{source} What differs:"
        f" {learned}the simulator is {task.simulator} ({packages}); and it runs on {machine} with the engine"
        f" {first.engine} {first.precision}, where the paper has eager PyTorch on an A40 GPU: a GPU computes the rows of a"
        " round for little more than the price of one, a CPU does not."
    )


def _measured(run: ComparedRun, sequential: ComparedRun | None) -> list[str]:
    s = run.summary
    seconds = s.seconds_per_episode_batch1.mean
    faster = f"{sequential.summary.seconds_per_episode_batch1.mean / seconds:.1f}×" if sequential else ""
    rounds = f"{s.solver.rounds_mean:.0f}" if sequential else ""
    return [
        run.sampler,
        f"{s.solver.evaluations_mean:.0f}",
        rounds,
        interval(s.reward, 2),
        f"{seconds:.2f} s",
        faster,
    ]


def _published_cells(published: dict[str, PublishedRow], name: str, sequential: str | None) -> list[str]:
    row = published.get(name)
    if row is None:
        return [""] * 4
    known = (row.evaluations, row.rounds) if sequential else (row.evaluations,)
    counts = ", ".join("–" if n is None else str(n) for n in known) if any(known) else ""
    reward = "" if row.reward is None else f"{row.reward:.2f}"
    if row.seconds is None:
        return [counts, reward, "", ""]
    one_by_one = published.get(sequential, PublishedRow()).seconds if sequential else None
    return [counts, reward, f"{row.seconds:.2f} s", f"{one_by_one / row.seconds:.1f}×" if one_by_one else ""]
