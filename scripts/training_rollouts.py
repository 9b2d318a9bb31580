"""Runs rollouts of a policy during its training, from its checkpoints, in a separate process."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from paradp.policy.errors import SettingError, printable
from paradp.policy.files.writing import naming_file
from paradp.policy.processes import python_command
from paradp.policy.settings import Limits, Settings, setting

# A fast sampler of each kind of training that needs no measurements.
SAMPLERS = {"diffusion": "sde-dpm-solver-10:spacing=sine", "flow": "flow-10", "consistency": "consistency-2"}
SEED = 200_000  # scenes that neither `paradp rollout` nor the demonstrations use
MOST_TOGETHER = 10


@dataclass(frozen=True, kw_only=True)
class Evaluating(Settings):
    """Settings of the rollouts during a training.

    Attributes:
        evaluate_every: training steps between rollouts of the policy, a multiple of save_every; their success is plotted
            beside the losses. By default there are no rollouts.
        evaluate_episodes: episodes of each rollout, always with the same seeds.
    """

    evaluate_every: int | None = setting(None, Limits(1, 10**9))
    evaluate_episodes: int = setting(20, Limits(1, 10_000))

    def check(self, save_every: int) -> None:
        """Raises:
        SettingError: evaluate_every is not a multiple of save_every.
        """
        if self.evaluate_every and self.evaluate_every % save_every:
            said = f"evaluate_every must be a multiple of save_every, {save_every}, not {self.evaluate_every}"
            raise SettingError(said, "evaluate_every", "save_every")


@dataclass(frozen=True)
class Evaluated:
    """Mean results over the episodes of one checkpoint."""

    step: int
    success: float
    reward: float

    def __str__(self) -> str:
        return f"after {self.step} steps: success {self.success:.2f}, reward {self.reward:.2f}"


@dataclass(frozen=True)
class TrainingRollouts:
    """Runs episodes with the checkpoints of a training.

    Attributes:
        task: the task's name.
        process: the kind of training: diffusion, flow or consistency.
        out: the training's directory; episodes and films are written to `evaluations/STEP`.
        settings: interval and number of episodes.
        device: the network's device.
    """

    task: str
    process: str
    out: Path
    settings: Evaluating
    device: str

    def due(self, step: int) -> bool:
        """Whether episodes are to be run after a step, and have not been completed."""
        every = self.settings.evaluate_every
        return every is not None and step > 0 and step % every == 0 and not (self._folder(step) / "summary.json").exists()

    def forget(self) -> None:
        """Removes the rollouts of an earlier training in the same directory, which had other weights."""
        if (folder := evaluations(self.out)).is_dir():
            shutil.rmtree(folder)

    def run(self, step: int) -> Evaluated:
        """Runs the episodes with the current checkpoint, in a separate process.

        So the rollouts affect neither the random numbers, threads and memory of the training, nor its continuation if they
        fail. The process ends with the training.

        Raises:
            ValueError: the rollouts failed; the message ends with the reason, or names the log.
            OSError: the log cannot be written.
        """
        folder, episodes = self._folder(step), self.settings.evaluate_episodes
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

    def _folder(self, step: int) -> Path:
        return evaluations(self.out) / str(step)


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
