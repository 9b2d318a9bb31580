"""The configuration of a run: episodes of one policy with one sampler. Checked before PyTorch is loaded."""

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
# Latency is measured with a single environment, over this many first episodes of a run.
EPISODES_ALONE = 5


@dataclass(frozen=True)
class RolloutConfig(Computing):
    """The configuration of a run: everything that its results depend on.

    `threads` is also the number of environments that step in parallel, if their steps release Python's lock. That does not
    change results; the threads of the network may, by rounding.

    Attributes:
        task: the task's name.
        sampler: the sampler.
        out: the run's directory.
        checkpoint: a pretrained policy's name, a checkpoint's directory or hf:owner/name; by default the task's policy.
        episodes: number of episodes; episode i has seed SEED + i.
        seed: seed of the first episode's environment and noise.
        envs: environments per batch of plans, in each worker. Episodes always run in groups of this size, in the order of
            their seeds.
        videos: film this many of the first episodes.
        execute: actions of a chunk that are executed before the next; the checkpoint's own number by default.
        clock: the simulated time of a plan. ideal: none, the simulation waits. measured: the time that the plan takes on
            this machine. fixed:MS: always MS milliseconds. replay:FILE: the times of the plans in a run's alone.parquet.
        controller: sync requests a chunk when the last one is used up, ahead before that. ahead-blend blends each chunk
            with the remaining actions of the last one; ahead-inpaint samples it so that it matches them.
        disturbance: what disturbs the task's object: none, push or belt; none by default.
        max_steps: length limit of an episode in control steps; the task's own by default.
        chosen: the sampler that `auto` has chosen; see `paradp.rollouts.episodes.resolving.settled`.
    """

    task: str
    sampler: SamplerChoice
    out: Path
    checkpoint: str | None = None
    episodes: int = setting(20, Limits(1, MOST_EPISODES))
    seed: int = setting(0, Limits(0, EPISODE_SEEDS - 1))
    envs: int = setting(1, Limits(1, MOST_TOGETHER))
    videos: int = setting(0, Limits(0, MOST_EPISODES))
    execute: int | None = setting(None, Limits(1, 1_000_000))  # the checkpoint limits it further
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
        """Seeds of each group of episodes that share batches."""
        return [self.seeds[i : i + self.envs] for i in range(0, self.episodes, self.envs)]

    @property
    def checkpoint_path(self) -> Path:
        """The directory or file of the checkpoint."""
        return find_checkpoint(self.checkpoint or self.task)

    @property
    def denoises(self) -> SamplerChoice:
        """The sampler that is used; for `auto` the chosen one.

        Raises:
            ValueError: `auto` has not chosen yet.
        """
        if self.chosen is None and self.sampler.measured:
            raise ValueError(f"{self.sampler} is not chosen yet")
        return self.chosen or self.sampler

    def alone(self, out: Path) -> "RolloutConfig":
        """The run that measures latency: the first episodes, with a single environment and all cores."""
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
        """Whether the run itself has these settings."""
        same = replace(self.alone(self.out), episodes=self.episodes, videos=self.videos, chosen=self.chosen)
        return replace(self, threads=self.threads or cores()) == same
