"""What to run: episodes of one policy under one sampler, and everything that their outcome depends on."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError

from paradp.checkpoints import build_solver, find_checkpoint, load_policy, read_draft_info, read_info
from paradp.envs import ACTION_CONVENTIONS, find_task
from paradp.policy import DiffusionPolicy, EngineName, PolicySpec, Precision, RecedingHorizon
from paradp.policy.files.limits import MOST_STEPS, within
from paradp.policy.files.reading import first_problem
from paradp.rollouts.episodes.clocks import IDEAL, ClockChoice, ControllerName
from paradp.rollouts.episodes.directory import RunDirectory
from paradp.rollouts.episodes.environments import Scenery, check_fits
from paradp.rollouts.episodes.identity import RunIdentity, SamplerUsed
from paradp.rollouts.episodes.summary import settings
from paradp.rollouts.machine import cores, hardware, versions
from paradp.sampler import SamplerChoice
from paradp.sampler.streams import EPISODE_SEEDS, check_episode_seeds

_SAMPLER = TypeAdapter(SamplerUsed)
MOST_TOGETHER = 2**16  # environments or threads of one process
# Latency is measured with a single environment over the first episodes of a run, so many of them.
EPISODES_ALONE = 5
# The least and the most of each number.
_LIMITS = {
    "episodes": (1, EPISODE_SEEDS),
    "seed": (0, EPISODE_SEEDS - 1),
    "envs": (1, MOST_TOGETHER),
    "threads": (1, MOST_TOGETHER),
    "videos": (0, EPISODE_SEEDS),
    "max_steps": (1, MOST_STEPS),  # a longer episode could not be read back
}


@dataclass(frozen=True)
class RolloutConfig:
    """What to run.

    Attributes:
        task: the task's name.
        sampler: how to denoise.
        out: the run's directory.
        checkpoint: a pretrained policy's name or a directory; the task's own pretrained policy if `None`.
        episodes: how many.
        seed: of the first episode; episode i has seed + i.
        envs: environments planned together. Episodes are run in groups of so many, from the first seed on, so that what is
            computed together does not depend on who computes it.
        threads: of the network, and how many environments step at once, where their steps release Python's lock; all cores
            by default. Of the two, only the network's may change results, by rounding.
        videos: how many of the first episodes are filmed.
        device: where the network computes.
        engine, precision: what computes it, and with which arithmetic.
        execute: Ta, executed actions of a chunk; the checkpoint's own by default.
        clock: what happens while the policy thinks.
        controller: `sync` asks for a chunk when the last one is used up and waits for it; `ahead` asks while there are
            actions left, and joins chunks as the rest of its name says (`paradp.policy.joining`).
        disturbance: what happens to the task's object meanwhile; nothing by default.
        max_steps: control steps until an episode is truncated; the task's own number by default.
        chosen: what a measured sampler (`auto`) stands for here; see `settled`.
    """

    task: str
    sampler: SamplerChoice
    out: Path
    checkpoint: str | None = None
    episodes: int = 20
    seed: int = 0
    envs: int = 1
    threads: int | None = None
    videos: int = 0
    device: str = "cpu"
    engine: EngineName = "auto"
    precision: Precision = "fp32"
    execute: int | None = None
    clock: ClockChoice = IDEAL
    controller: ControllerName = "sync"
    disturbance: str | None = None
    max_steps: int | None = None
    chosen: SamplerChoice | None = None

    def __post_init__(self) -> None:
        for name, (least, most) in _LIMITS.items():
            if (value := getattr(self, name)) is not None:
                within(name, value, least, most)
        check_episode_seeds(self.seed, self.episodes)
        if self.clock.kind == "measured" and self.envs > 1:
            raise ValueError("the clock `measured` takes the latency of one robot: it needs 1 environment at a time")

    @property
    def seeds(self) -> range:
        return range(self.seed, self.seed + self.episodes)

    @property
    def groups(self) -> list[range]:
        """Seeds of the episodes that are run together."""
        return [self.seeds[i : i + self.envs] for i in range(0, self.episodes, self.envs)]

    @property
    def checkpoint_path(self) -> Path:
        return find_checkpoint(self.checkpoint or self.task)

    def scenery(self, spec: PolicySpec, render: bool = False) -> Scenery:
        return Scenery(self.task, spec.action_convention, self.disturbance, self.max_steps, render)

    @property
    def denoises(self) -> SamplerChoice:
        """What is computed in the end.

        Raises:
            ValueError: the sampler is yet to be measured.
        """
        if self.chosen is None and self.sampler.measured:
            raise ValueError(f"{self.sampler} is not settled yet")
        return self.chosen or self.sampler

    def alone(self, out: Path) -> "RolloutConfig":
        """The first episodes, one environment at a time with all cores and nothing else: what latency is measured with."""
        return RolloutConfig(
            self.task,
            self.sampler,
            out,
            self.checkpoint,
            min(EPISODES_ALONE, self.episodes),
            self.seed,
            threads=cores(),
            device=self.device,
            engine=self.engine,
            precision=self.precision,
            execute=self.execute,
        )

    @property
    def is_alone(self) -> bool:
        """Whether the run itself is such a one."""
        same = replace(self.alone(self.out), episodes=self.episodes, videos=self.videos, chosen=self.chosen)
        return replace(self, threads=self.threads or cores()) == same

    def check(self) -> None:
        """Checks all that can be checked before anything runs.

        Raises:
            ValueError: task, disturbance, sampler, checkpoint, clock or horizon are unknown or do not fit each other.
        """
        task = find_task(self.task).task
        if self.disturbance is not None:
            task.check_disturbance(self.disturbance)
        spec = read_info(self.checkpoint_path).spec
        check_fits(spec, self.task)
        spec.horizons.with_execute(self.execute)
        build_solver(self.sampler, self.checkpoint_path)

    def controllers(self, policy: DiffusionPolicy, count: int) -> list[RecedingHorizon]:
        """For so many environments."""
        hold = ACTION_CONVENTIONS[policy.spec.action_convention].hold
        when, _, joining = self.controller.partition("-")
        return [
            RecedingHorizon(
                policy,
                execute=self.execute,
                ahead=when == "ahead",
                clock=self.clock.start(policy.spec.control_hz),
                hold=hold,
                joining=joining or "replace",  # type: ignore[arg-type]
            )
            for _ in range(count)
        ]

    def settled(self) -> tuple["RolloutConfig", str]:
        """With what a measured sampler stands for, and why that; a run goes on with what it was begun with.

        Raises:
            ValueError: `run.json` does not say that in words of ours, or as `load_policy`.
        """
        if not self.sampler.measured:
            return self, ""
        if (begun := self._begun_with()) is not None:
            return replace(self, chosen=begun), f"{begun}, as the run in {self.out} was begun"
        torch.set_num_threads(self.threads or cores())
        name = self.checkpoint or self.task
        policy = load_policy(name, self.sampler, self.device, None, self.engine, self.precision, self.envs)
        assert policy.planned is not None
        return replace(self, chosen=SamplerChoice.parse(policy.planned.sampler)), policy.planned.describe()

    def _begun_with(self) -> SamplerChoice | None:
        """What the sampler stands for in the run that `out` holds; `None` if it holds none of this sampler."""
        identity = RunDirectory(self.out).identity()
        if "sampler" not in identity:
            return None
        try:
            sampler = _SAMPLER.validate_python(identity["sampler"])
            chosen = sampler["settings"].get("chosen")
            if sampler["name"] != self.sampler.name or chosen is None:
                return None
            if not isinstance(chosen, str) or (choice := SamplerChoice.parse(chosen)).measured:
                raise ValueError(f"chosen is {chosen!r:.40}, which is no sampler that denoises")
        except ValueError as error:
            problem = first_problem(error) if isinstance(error, ValidationError) else error
            raise ValueError(f"{self.out}/run.json is damaged: its sampler: {problem}; choose another --out") from error
        return choice

    def identity(self, policy: DiffusionPolicy, sha256: str) -> RunIdentity:
        """Everything that the run's numbers depend on, but how many episodes there are.

        Args:
            policy: what it is of.
            sha256: `checkpoint_digest` of its checkpoint.
        """
        chosen = {} if self.chosen is None else {"chosen": str(self.chosen)}
        if "model" in (made := settings(self.sampler, policy.solver)):
            # Two drafts give one distribution, and other samples.
            made["model"] = read_draft_info(self.checkpoint_path, sha256).weights_sha256
        return RunIdentity(
            task=self.task,
            sampler={"name": self.sampler.name, "settings": made | chosen},
            model_sha256=read_info(self.checkpoint_path).model_sha256,
            checkpoint_sha256=sha256,
            seed=self.seed,
            envs=self.envs,
            threads=self.threads or cores(),
            device=self.device,
            engine=policy.engine.name,
            precision=policy.engine.precision,
            execute=policy.spec.horizons.with_execute(self.execute).execute,
            clock=self.clock.identity,
            controller=self.controller,
            disturbance=self.disturbance,
            max_steps=self.max_steps or find_task(self.task).task.max_steps,
            hardware=hardware(self.device),
            versions=versions(),
        )
