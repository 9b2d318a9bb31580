"""Rollouts of a policy while it is trained, from its checkpoints, in a process of their own."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from paradp.policy.errors import SettingError, printable
from paradp.policy.files.writing import naming_file
from paradp.policy.processes import python_command
from paradp.policy.settings import Limits, Settings, setting

# A fast sampler of each kind of training that needs no measurements.
SAMPLERS = {"diffusion": "sde-dpm-solver-10:spacing=sine", "flow": "flow-10", "consistency": "consistency-2"}
SEED = 200_000  # other scenes than those of `paradp rollout` and of the demonstrations
MOST_TOGETHER = 10


@dataclass(frozen=True, kw_only=True)
class Evaluating(Settings):
    """When the policy is tried while it is trained.

    Attributes:
        evaluate_every: steps between rollouts of the policy in training, a multiple of save_every; their success is
            drawn beside the losses. By default there are none.
        evaluate_episodes: episodes of each of them, always from the same seeds.
    """

    evaluate_every: int | None = setting(None, Limits(1, 10**9))
    evaluate_episodes: int = setting(20, Limits(1, 10_000))

    def check(self, save_every: int) -> None:
        """Raises:
        SettingError: policies would be tried where no checkpoint is saved.
        """
        if self.evaluate_every and self.evaluate_every % save_every:
            said = f"evaluate_every must be a multiple of save_every, {save_every}, not {self.evaluate_every}"
            raise SettingError(said, "evaluate_every", "save_every")


@dataclass(frozen=True)
class Evaluated:
    """Means over the episodes of one checkpoint."""

    step: int
    success: float
    reward: float

    def __str__(self) -> str:
        return f"after {self.step} steps: success {self.success:.2f}, reward {self.reward:.2f}"


@dataclass(frozen=True)
class TrainingRollouts:
    """Tries the checkpoints of a training.

    Attributes:
        task: its name.
        process: the kind of training: diffusion, flow or consistency.
        out: the training's directory; episodes and films go to `evaluations/STEP`.
        settings: when, and how many episodes.
        device: of the network.
    """

    task: str
    process: str
    out: Path
    settings: Evaluating
    device: str

    def due(self, step: int) -> bool:
        return self.settings.evaluate_every is not None and step > 0 and step % self.settings.evaluate_every == 0

    def run(self, step: int) -> Evaluated:
        """Runs the episodes with the checkpoint as it is now.

        Another process does so: the training keeps its random numbers, threads and memory, and goes on whatever happens.
        That process ends with the training.

        Raises:
            ValueError: they failed; the message ends with the reason, or names the log.
            OSError: the log cannot be written.
        """
        folder, episodes = evaluations(self.out) / str(step), self.settings.evaluate_episodes
        log = folder.with_suffix(".log")
        command = [
            *python_command("from paradp.scripts.main import main; main()"),
            *("rollout", self.task),
            *("--checkpoint", str(self.out / "checkpoint"), "--sampler", SAMPLERS[self.process]),
            *("--episodes", str(episodes), "--seed", str(SEED), "--envs", str(min(episodes, MOST_TOGETHER))),
            *("--device", self.device, "--out", str(folder)),
        ]
        with naming_file(log):
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("wb") as file:
                code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT).returncode
        if code:
            said = log.read_text(errors="replace").strip().splitlines()
            raise ValueError(f"the rollouts after {step} steps failed: {printable(said[-1]) if said else log}")
        return _read(folder)


def evaluations(out: Path) -> Path:
    """The folder of a training's rollouts."""
    return out / "evaluations"


def read_evaluations(out: Path) -> list[Evaluated]:
    """Reads the results of completed rollouts, by step.

    Raises:
        ValueError: a summary is damaged.
    """
    folders = [path.parent for path in evaluations(out).glob("*/summary.json") if path.parent.name.isdigit()]
    return sorted(map(_read, folders), key=lambda one: one.step)


def _read(folder: Path) -> Evaluated:
    from paradp.rollouts import Summary

    found = Summary.read(folder / "summary.json")
    return Evaluated(int(folder.name), found.success.mean, found.reward.mean)
