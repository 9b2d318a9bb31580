"""What to run: episodes of one policy under one sampler. Read and checked before PyTorch is loaded."""

from dataclasses import dataclass, replace
from pathlib import Path

from paradp.checkpoints.finding import find_checkpoint
from paradp.policy.computing import Computing
from paradp.policy.files.limits import MOST_STEPS
from paradp.policy.settings import Limits, setting
from paradp.rollouts.episodes.clocks import IDEAL, ClockChoice, ControllerName
from paradp.rollouts.machine import cores
from paradp.sampler import SamplerChoice
from paradp.sampler.streams import EPISODE_SEEDS, check_episode_seeds

MOST_EPISODES = 1_000_000
MOST_TOGETHER = 4096  # environments of one process
# Latency is measured with a single environment over the first episodes of a run, so many of them.
EPISODES_ALONE = 5


@dataclass(frozen=True)
class RolloutConfig(Computing):
    """What to run: everything that its outcome depends on.

    Threads are also how many environments step at once, where their steps release Python's lock. Of the two, only the
    network's may change results, by rounding.

    Attributes:
        task: the task's name.
        sampler: how to denoise.
        out: the run's directory.
        checkpoint: a pretrained policy's name or a checkpoint's directory; the task's own pretrained policy by default.
        episodes: how many; episode i has seed SEED + i.
        seed: of the first episode's environment and noise.
        envs: environments planned together as one batch, in each worker; episodes run in groups of so many, from the first
            seed on, whoever computes them.
        videos: how many of the first episodes to film.
        execute: actions of a chunk that are executed before the next; the checkpoint's own number by default.
        clock: what happens while the policy thinks. ideal: simulation waits. measured: time goes on as long as each plan
            takes here. fixed:MS: so long for each. replay:FILE: as long as the plans in a run's alone.parquet took.
        controller: sync asks for a chunk when the last one is used up, ahead while there are actions left; ahead-blend
            blends each chunk with what is left of the last one, ahead-inpaint denoises it to agree with that.
        disturbance: what happens to the task's object meanwhile: none, push or belt; none by default.
        max_steps: control steps until an episode is given up; the task's own number by default.
        chosen: what a measured sampler (`auto`) stands for here; see `paradp.rollouts.episodes.resolving.settled`.
    """

    task: str
    sampler: SamplerChoice
    out: Path
    checkpoint: str | None = None
    episodes: int = setting(20, Limits(1, MOST_EPISODES))
    seed: int = setting(0, Limits(0, EPISODE_SEEDS - 1))
    envs: int = setting(1, Limits(1, MOST_TOGETHER))
    videos: int = setting(0, Limits(0, MOST_EPISODES))
    execute: int | None = setting(None, Limits(1, 1_000_000))  # how many are predicted, only the checkpoint knows
    clock: ClockChoice = IDEAL
    controller: ControllerName = "sync"
    disturbance: str | None = None
    max_steps: int | None = setting(None, Limits(1, MOST_STEPS))  # a longer episode could not be read back
    chosen: SamplerChoice | None = setting(None, option=False)

    def __post_init__(self) -> None:
        super().__post_init__()
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
