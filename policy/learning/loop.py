"""The loop of all trainings: autocast, AdamW, cosine decay, EMA, on a CPU or a GPU; a killed run can be resumed."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from torch import Tensor

from paradp.policy.data.dataset import Dataset
from paradp.policy.files import OutputLock, refuse_filled
from paradp.policy.learning.arithmetic import Arithmetic, Step, fast_products, step_on_a_copy
from paradp.policy.learning.captured import CapturedStep
from paradp.policy.learning.config import LearningConfig
from paradp.policy.learning.identity import TrainingIdentity
from paradp.policy.learning.lesson import Lesson, TrainedPolicy
from paradp.policy.learning.metrics_log import MetricsLog, TrainingMetrics
from paradp.policy.learning.ranks import Ranks
from paradp.policy.learning.state import STATE, Noted, StateFile, TrainingState
from paradp.policy.learning.steps import EagerStep, Loss
from paradp.policy.learning.transfer import UnreadLosses
from paradp.policy.spec import PolicySpec


# Long: the order of stepping, reading losses, logging and saving decides what a killed run loses, so it stays in one place.
def learn(
    lesson: Lesson,
    demonstrations: Dataset,
    config: LearningConfig,
    out: Path,
    save: Callable[[TrainedPolicy, Path], None],
    on_step: Callable[[int, float], None],
    on_arithmetic: Callable[[Arithmetic], None],
    choose: Callable[[Step, int], Arithmetic],
    on_start: Callable[[int, TrainedPolicy], None],
    on_metrics: Callable[[TrainingMetrics], None],
    ranks: Ranks,
) -> TrainedPolicy:
    """Minimises an objective; for the files that it writes see `paradp.policy.learning.training.train`.

    Args:
        lesson: the parts of the training.
        ranks: the processes that train together.
        demonstrations, config, out, save, on_step, on_arithmetic, choose, on_start, on_metrics: as in `train`.
    """
    start, device = lesson.start, lesson.device
    _check_normalisation(start.spec)

    def chosen() -> Arithmetic:
        return choose(step_on_a_copy(start.network, lesson.loss, lambda size: lesson.batch(size, 0)), config.batch_size)

    ranks.check(config.batch_size)
    run = _TrainingDirectory(out, TrainingIdentity.of(config, demonstrations, lesson.earlier), chosen, ranks)
    with fast_products(device), run.opened(TrainingState(start.network, config)) as state:
        on_arithmetic(run.arithmetic)
        trained = TrainedPolicy(start.spec, state.ema.network, start.observation_normalizer, start.action_normalizer)
        kept = _Kept(lesson, state, run, lambda: save(trained, out / "checkpoint"), on_step, on_metrics)
        on_start(state.step, trained)
        ranks.wait()
        step = _step(state, lesson.loss, run.arithmetic.bf16, ranks)
        while state.step < config.steps:
            # With a separate generator for each step, a resumed run draws the same batches as an uninterrupted one.
            kept.add(step(*lesson.batch(config.batch_size, config.seed * 1_000_003 + state.step, state.step)))
            logs = state.step % config.log_every == 0 or state.step == config.steps
            saves = state.step % config.save_every == 0 and state.step < config.steps
            kept.read_losses(now=logs or saves)
            if logs:
                kept.log()
            if saves:
                kept.save()
        kept.save()
    return trained


def _check_normalisation(spec: PolicySpec) -> None:
    """Raises:
    ValueError: the network has batch normalisation, whose statistics are neither in the averaged weights nor in the state.
    """
    if spec.vision is not None and spec.vision.norm == "batch":
        raise ValueError(
            "an encoder with batch normalisation cannot be trained: checkpoints contain averaged weights, which do not"
            " fit the statistics of batches. Train one with group normalisation, from random weights"
        )


class _Kept:
    """Writes the records of a training: losses, lines of the log, states and checkpoints.

    If several processes train together, only the first one writes.

    Args:
        lesson, state, run: the parts of the training, its state, and its directory.
        save: writes a checkpoint.
        on_step: called with the number and the loss of every step.
        on_metrics: called with every line of the log.
    """

    def __init__(
        self,
        lesson: Lesson,
        state: TrainingState,
        run: "_TrainingDirectory",
        save: Callable[[], None],
        on_step: Callable[[int, float], None],
        on_metrics: Callable[[TrainingMetrics], None],
    ):
        self._lesson, self._state, self._run = lesson, state, run
        self._save, self._on_step, self._on_metrics = save, on_step, on_metrics
        self._log = MetricsLog(run.out / "metrics.jsonl", state.step) if run.ranks.first else None
        self._unread = UnreadLosses(lesson.device)
        self.add = self._unread.add

    def read_losses(self, now: bool) -> None:
        """Reads the pending losses, which waits for the device: if `now`, or if there are many.

        Raises:
            ValueError: one is not finite.
        """
        if not (now or self._unread.due):
            return
        losses = self._unread.read()
        for number, loss in enumerate(losses, self._state.step - len(losses) + 1):
            if not math.isfinite(loss):
                raise ValueError(f"the loss of step {number} is {loss}; {self._run.out} keeps the state of the last save")
            self._state.losses.add(loss)
            self._on_step(number, loss)

    def log(self) -> None:
        """Writes a line: the mean loss since the last one, and the validation loss."""
        state, loss = self._state, self._state.losses.take()
        if self._log is not None:
            validation = self._lesson.validation_loss(state.ema.network)
            self._on_metrics(self._log.write(state.step, loss, validation, state.learning_rate))

    def save(self) -> None:
        """Writes the state and a checkpoint."""
        if self._run.ranks.first:
            self._run.save(self._state)
            self._save()
        self._run.ranks.wait()


def _step(state: TrainingState, loss: Loss, bf16: bool, ranks: Ranks) -> Callable[..., Tensor]:
    """Makes the step: captured on a GPU if a single process trains, otherwise eager."""
    if state.device.type == "cuda" and ranks.size == 1:
        return CapturedStep(state, loss, bf16)
    return EagerStep(state, loss, bf16, ranks)


class _TrainingDirectory:
    """A training's directory.

    Args:
        out: the directory.
        identity: identity of the training.
        choose: chooses the number format of a new run, if none is requested.
        ranks: the processes that train together; the first one locks the directory.
    """

    def __init__(self, out: Path, identity: TrainingIdentity, choose: Callable[[], Arithmetic], ranks: Ranks):
        self.out = out
        self._identity = identity
        self._choose = choose
        self.ranks = ranks
        self._file = StateFile(out / STATE)

    @contextmanager
    def opened(self, state: TrainingState) -> Iterator[TrainingState]:
        """Locks the directory, and loads the state of the run in it, if any.

        Raises:
            ValueError: the directory holds another run or something else, or another process writes there.
        """
        # Checked before locking, so that a refused directory is not touched.
        self._check()
        with OutputLock.inside(self.out) if self.ranks.first else nullcontext():
            noted = self.ranks.agree(self._check)
            if noted is not None:
                self.arithmetic = noted.arithmetic
                self._file.load(state)
            else:
                self.arithmetic = self.ranks.agree(self._begun)
            yield state

    def _begun(self) -> Arithmetic:
        bf16 = self._identity.config.bf16
        return self._choose() if bf16 is None else Arithmetic(bf16, "as asked for")

    def save(self, state: TrainingState) -> None:
        self._file.save(state, self._identity.document(), self.arithmetic)

    def _check(self) -> Noted | None:
        """Reads and checks the run in the directory."""
        noted = self._file.noted()
        if noted is None:
            if not (self.out / "metrics.jsonl").exists():
                refuse_filled(self.out, "training")
            return None
        self._identity.check(noted, self.out)
        return noted
