"""The parts of a run that depend on its checkpoint: validity, the choice of `auto`, and the run's identity."""

from dataclasses import replace

import torch
from pydantic import TypeAdapter, ValidationError

from paradp.checkpoints import build_solver, load_policy, read_draft_info, read_info
from paradp.checkpoints.finding import is_theirs
from paradp.envs import find_task
from paradp.policy import DiffusionPolicy
from paradp.policy.errors import SettingError
from paradp.policy.files.limits import MOST_STEPS
from paradp.policy.files.reading import first_problem
from paradp.rollouts.episodes.config import RolloutConfig
from paradp.rollouts.episodes.directory import RunDirectory
from paradp.rollouts.episodes.environments import check_fits
from paradp.rollouts.episodes.identity import RunIdentity, SamplerUsed
from paradp.rollouts.episodes.summary import settings
from paradp.rollouts.machine import cores, hardware, versions
from paradp.sampler import SamplerChoice

_SAMPLER = TypeAdapter(SamplerUsed)


def check(config: RolloutConfig) -> None:
    """Checks a configuration before anything runs.

    Raises:
        ValueError: task, disturbance, sampler, checkpoint, clock or horizon is unknown, or they do not fit together.
    """
    task = find_task(config.task).task
    if config.disturbance is not None:
        task.check_disturbance(config.disturbance)
    if (steps := config.max_steps or task.max_steps) > MOST_STEPS:
        raise SettingError(
            f"an episode of {task.name} has up to {steps} control steps, and {MOST_STEPS} can be stored; set max_steps",
            "max_steps",
        )
    spec = read_info(config.checkpoint_path).spec
    check_fits(spec, config.task, native=not is_theirs(config.checkpoint_path))
    spec.horizons.with_execute(config.execute)
    build_solver(config.sampler, config.checkpoint_path)


def settled(config: RolloutConfig) -> tuple[RolloutConfig, str]:
    """The config with the sampler chosen for `auto`, and the reason. A continued run keeps its choice.

    Raises:
        ValueError: the choice in `run.json` is invalid, or as `load_policy`.
    """
    if not config.sampler.measured:
        return config, ""
    if (begun := _begun_with(config)) is not None:
        return replace(config, chosen=begun), f"{begun}, as the run in {config.out} was begun"
    torch.set_num_threads(config.threads or cores())
    name = config.checkpoint or config.task
    policy = load_policy(name, config.sampler, config.device, None, config.engine, config.precision, config.envs)
    assert policy.planned is not None
    return replace(config, chosen=SamplerChoice.parse(policy.planned.sampler)), policy.planned.describe()


def identity(config: RolloutConfig, policy: DiffusionPolicy, sha256: str) -> RunIdentity:
    """The identity of a run.

    Args:
        config: configuration of the run.
        policy: its policy.
        sha256: `checkpoint_digest` of its checkpoint.
    """
    chosen = {} if config.chosen is None else {"chosen": str(config.chosen)}
    if "model" in (made := settings(config.sampler, policy.solver)):
        # Another trained draft gives the same distribution, but other samples.
        made["model"] = read_draft_info(config.checkpoint_path, sha256).weights_sha256
    return RunIdentity(
        task=config.task,
        sampler={"name": config.sampler.name, "settings": made | chosen},
        model_sha256=read_info(config.checkpoint_path).model_sha256,
        checkpoint_sha256=sha256,
        seed=config.seed,
        envs=config.envs,
        threads=config.threads or cores(),
        device=config.device,
        engine=policy.engine.name,
        precision=policy.engine.precision,
        execute=policy.spec.horizons.with_execute(config.execute).execute,
        clock=config.clock.identity,
        controller=config.controller,
        disturbance=config.disturbance,
        max_steps=config.max_steps or find_task(config.task).task.max_steps,
        hardware=hardware(config.device),
        versions=versions(find_task(config.task).task.packages),
    )


def _begun_with(config: RolloutConfig) -> SamplerChoice | None:
    """The choice of `auto` in an existing run; `None` if `out` contains no run of this sampler."""
    noted = RunDirectory(config.out).identity()
    if "sampler" not in noted:
        return None
    try:
        sampler = _SAMPLER.validate_python(noted["sampler"])
        chosen = sampler["settings"].get("chosen")
        if sampler["name"] != config.sampler.name or chosen is None:
            return None
        if not isinstance(chosen, str) or (choice := SamplerChoice.parse(chosen)).measured:
            raise ValueError(f"chosen is {chosen!r:.40}, which is not a sampler that denoises")
    except ValueError as error:
        problem = first_problem(error) if isinstance(error, ValidationError) else error
        raise ValueError(f"{config.out}/run.json is damaged: its sampler: {problem}; choose another --out") from error
    return choice
