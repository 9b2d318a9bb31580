"""`paradp fidelity`: measures how plans with fewer steps differ from DDPM's, for `auto-fast`."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.table import Table

from paradp.policy.settings import Limits
from paradp.rollouts.machine import cores, versions
from paradp.scripts.call import PolicyName, Seed
from paradp.scripts.computing import DEFAULT_COMPUTING, ComputingFlags
from paradp.scripts.console import console, doing, loading, progress, say
from paradp.scripts.families import without_grid
from paradp.scripts.places import INSTEAD, check_device, check_file, check_folder, check_simulator, checkpoint_named

if TYPE_CHECKING:
    from paradp.policy import DiffusionPolicy
    from paradp.policy.fidelity import Fidelity, StepsFidelity
    from paradp.policy.spec import PolicySpec
    from paradp.rollouts.evaluation.fidelity import Observations

# Control steps between two observations along an expert's episodes.
EVERY = 40
Number = Annotated[int, Limits(2, 10_000)]


# Long: its parameters are the command's options, and its docstring is their help.
def fidelity(
    policy: PolicyName,
    data: Path | None = None,
    out: Path | None = None,
    observations: Number = 32,
    plans: Annotated[int, Limits(6, 1000)] = 32,
    seed: Seed = 30_000,
    computing: tyro.conf.OmitArgPrefixes[ComputingFlags] = DEFAULT_COMPUTING,
) -> None:
    """Measure how plans with fewer steps differ from DDPM's; the sampler auto-fast uses the result.

    It takes some minutes, and writes fidelity.json into the checkpoint's directory. Only sequential samplers are measured:
    speculative- ones have exactly the same distribution.

        paradp fidelity square
        paradp fidelity runs/train/checkpoint --data demos/square.zarr

    Args:
        policy: a pretrained policy's name or a checkpoint's directory.
        data: demonstrations of the task (a zarr group) to take the observations from; by default those of its scripted
            expert's episodes.
        out: the file to write; by default fidelity.json in the checkpoint's directory, or in the cache folder if that
            directory cannot be written.
        observations: number of observations to plan from. Half as many more are used to fit grids of timesteps, and
            SDE-DPM-Solver's eta, to the policy.
        plans: plans per sampler and observation, each with its own noise.
        seed: seed of the first expert episode, or of the choice among the demonstrations; and of the noise.
        computing: how the policy is computed.
    """
    path, how = checkpoint_named(policy), computing.checked()
    check_device(how.device)
    if out is not None:
        check_file(out, "--out")
    with loading():
        import torch

        from paradp.checkpoints import checkpoint_digest, load_policy, read_info
        from paradp.checkpoints.fidelity import cached_file
        from paradp.policy.fidelity import FILE, Fidelity
        from paradp.rollouts.evaluation.two_sample import expected_coverage
    spec = read_info(path).spec
    # Checked before anything is measured.
    recorded = None if data is None else _recorded(data, spec, observations, seed)
    if data is None:
        from paradp.envs import find_task

        _ = find_task(spec.task).demonstrator
        check_simulator(spec.task, INSTEAD)
    digest = checkpoint_digest(path)
    target = out or _target(path, digest)
    torch.set_num_threads(how.threads or cores())
    with doing("loading the policy"):
        loaded = load_policy(path, "ddpm", how.device, digest, how.engine, how.precision)
    seen = recorded or _of_expert(spec, observations, seed)
    steps = _measure(loaded, seen, plans, seed)
    measured = Fidelity(
        digest,
        shlex.join(["paradp", *sys.argv[1:]]),
        "the scripted expert's episodes" if data is None else "demonstrations",
        observations,
        plans,
        seed,
        expected_coverage(plans, plans),
        f"{loaded.engine.name} {loaded.engine.precision}",
        {name: str(number) for name, number in versions().items()},
        steps,
    )
    _tell(measured, target)
    if target == path / FILE:
        cached_file(digest).unlink(missing_ok=True)  # it would be read instead


def _tell(measured: "Fidelity", target: Path) -> None:
    """Writes and prints the measurement."""
    target.parent.mkdir(parents=True, exist_ok=True)
    measured.write(target)
    console.print(_table(measured))
    say(_conclusion(measured))
    say(str(target))


def _target(path: Path, digest: str) -> Path:
    """The file in the checkpoint's directory, or in the cache folder if that directory cannot be written."""
    from paradp.checkpoints.fidelity import cached_file
    from paradp.policy.fidelity import FILE

    try:
        check_folder(path)
    except OSError:
        say(f"{path} cannot be written: {FILE} is kept in the cache folder")
        return cached_file(digest)
    return path / FILE


def _recorded(data: Path, spec: "PolicySpec", number: int, seed: int) -> "Observations":
    from paradp.rollouts.evaluation.fidelity import recorded_observations
    from paradp.scripts.datasets import open_data
    from paradp.scripts.train import check_data

    check_data(data, spec.task)
    return recorded_observations(open_data(data, spec.task), spec, number, seed)


def _of_expert(spec: "PolicySpec", number: int, seed: int) -> "Observations":
    from paradp.policy.observations import take
    from paradp.rollouts.evaluation.fidelity import Observations, fitted_at
    from paradp.rollouts.expert_histories import expert_histories

    with doing("running the scripted expert, for observations"):
        histories = expert_histories(spec, number + fitted_at(number), seed, EVERY)
    return Observations(take(histories, slice(number, None)), take(histories, slice(number)))


def _measure(policy: "DiffusionPolicy", seen: "Observations", plans: int, seed: int) -> "dict[str, StepsFidelity]":
    """Measures each sampler, with a progress bar over the network's rows."""
    from paradp.rollouts.evaluation.fidelity import (
        FEW,
        FITTED,
        STEPS,
        fit_grids,
        fit_noise,
        fitted_name,
        measure_steps,
        rows_of,
    )

    trained = int(policy.spec.schedule["num_train_timesteps"])
    numbers, few = ([n for n in these if n < trained] for these in (FITTED, FEW))
    plain = [name for name in STEPS if _count(name) < trained]
    expected = plain + [f"ddpm-{n}" for n in numbers] + [f"sde-dpm-solver-{n}" for n in few]
    done, rows = 0, rows_of(seen, expected, plans, trained, few)
    with progress("plans", rows) as report:

        def add(more: int) -> None:
            nonlocal done
            done += more
            report(done)

        report(0)
        grids = fit_grids(policy, seen.fitting, max(numbers), seed, add)
        fitted = [fitted_name("ddpm", grids[n - 1]) for n in numbers]
        fitted += fit_noise(policy, seen.fitting, few, plans, seed, add)
        # If η = 1 was best, those steps are measured already, so there are fewer rows than expected.
        measured = measure_steps(policy, [*dict.fromkeys(plain + fitted)], seen.judging, plans, seed, add)
        report(rows)
        return measured


def _count(name: str) -> int:
    from paradp.sampler import SamplerChoice

    return SamplerChoice.parse(name).steps or 0


def _table(measured: "Fidelity") -> Table:
    table = Table("steps", "energy (95 %)", "p", "covered", "spread", title="plans beside DDPM's")
    for name, one in measured.steps.items():
        energy = f"{one.energy.value:.4f} ({one.energy.low:.4f} to {one.energy.high:.4f})"
        table.add_row(
            without_grid(name), energy, f"{one.p_value:.3f}", f"{one.coverage.value:.3f}", f"{one.spread.value:.3f}"
        )
    table.caption = f"equal distributions: energy 0, covered {measured.expected_coverage:.3f}, spread 1"
    return table


def _conclusion(measured: "Fidelity") -> str:
    """A sentence on the samplers that `auto-fast` may use."""
    from paradp.policy.fidelity import Bounds, fewest_steps

    bounds = Bounds()
    found = ", ".join(fewest_steps(measured, bounds)) or "none"
    return f"within {bounds.describe(measured.expected_coverage)}, the fewest of each kind: {found}"
