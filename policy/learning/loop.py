"""The loop of every training: autocast, AdamW, cosine decay, EMA, on a CPU or a GPU; a killed run resumes."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from paradp.policy.data.demonstrations import Demonstrations
from paradp.policy.files import OutputLock, refuse_filled
from paradp.policy.identity import check_same, describe, digest
from paradp.policy.learning.arithmetic import Arithmetic, Step, fast_products, step_on_a_copy
from paradp.policy.learning.captured import CapturedStep
from paradp.policy.learning.config import LearningConfig
from paradp.policy.learning.lesson import Lesson, TrainedPolicy
from paradp.policy.learning.metrics_log import MetricsLog
from paradp.policy.learning.state import Noted, StateFile, TrainingState
from paradp.policy.learning.steps import EagerStep
from paradp.policy.learning.transfer import UnreadLosses


def learn(
    lesson: Lesson,
    demonstrations: Demonstrations,
    config: LearningConfig,
    out: Path,
    save: Callable[[TrainedPolicy, Path], None],
    on_step: Callable[[int, float], None],
    on_arithmetic: Callable[[Arithmetic], None],
    choose: Callable[[Step, int], Arithmetic],
    on_start: Callable[[int], None],
) -> TrainedPolicy:
    """Makes an objective small; `paradp.policy.learning.training.train` says what is written, and when.

    Args:
        lesson: what is learned.
        demonstrations, config, out, save, on_step, on_arithmetic, choose, on_start: as in `train`.
    """
    start, device = lesson.start, lesson.device

    def chosen() -> Arithmetic:
        return choose(step_on_a_copy(start.network, lesson.loss, lambda size: lesson.batch(size, 0)), config.batch_size)

    run = _Run(out, _identity(config, demonstrations, lesson.earlier), config.bf16, chosen)
    with fast_products(device), run.opened(TrainingState(start.network, config.optimiser)) as state:
        on_arithmetic(run.arithmetic)
        on_start(state.step)
        trained = TrainedPolicy(start.spec, state.ema.network, start.observation_normalizer, start.action_normalizer)
        log = MetricsLog(out / "metrics.jsonl", state.step)

        unread = UnreadLosses(device)
        step = (CapturedStep if device.type == "cuda" else EagerStep)(state, lesson.loss, run.arithmetic.bf16)

        def save_all() -> None:
            run.save(state)
            save(trained, out / "checkpoint")

        def read_losses() -> None:
            losses = unread.read()
            for number, loss in enumerate(losses, state.step - len(losses) + 1):
                if not math.isfinite(loss):
                    raise ValueError(f"the loss of step {number} is {loss}; {out} keeps the state of the last save")
                state.losses.add(loss)
                on_step(number, loss)

        while state.step < config.steps:
            # A generator of its own for every step makes a resumed run draw what the uninterrupted one would.
            unread.add(step(*lesson.batch(config.batch_size, config.seed * 1_000_003 + state.step)))
            logs = state.step % config.log_every == 0 or state.step == config.steps
            saves = state.step % config.save_every == 0 and state.step < config.steps
            if unread.due or logs or saves:
                read_losses()
            if logs:
                validation_loss = lesson.validation_loss(state.ema.network)
                log.write(state.step, state.losses.take(), validation_loss, state.learning_rate)
            if saves:
                save_all()
        save_all()
    return trained


def _identity(config: LearningConfig, demonstrations: Demonstrations, earlier: TrainedPolicy | None) -> dict[str, Any]:
    """What a run is of: a state is continued only under the same. What it computes in is noted apart."""
    settings = {name: value for name, value in describe(config).items() if name != "bf16"}
    made_for = {name: value for name, value in describe(demonstrations.info).items() if name != "made_with"}
    start = None if earlier is None else digest(_arrays(earlier))
    return settings | made_for | {"data": demonstrations.digest(), "init": start}


def _arrays(policy: TrainedPolicy) -> dict[str, np.ndarray]:
    """Weights and normalisers."""
    observation, action = policy.observation_normalizer, policy.action_normalizer
    tensors = {f"network.{name}": tensor for name, tensor in policy.network.state_dict().items()} | {
        "observation.offset": observation.offset,
        "observation.scale": observation.scale,
        "action.offset": action.offset,
        "action.scale": action.scale,
    }
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}


class _Run:
    """A training's directory.

    Args:
        out: the directory.
        identity: what is to be trained.
        bf16: the arithmetic asked for; `None`: that of the run in the directory, or else `choose`'s.
        choose: the arithmetic of a run that begins.
    """

    def __init__(self, out: Path, identity: dict[str, Any], bf16: bool | None, choose: Callable[[], Arithmetic]):
        self._out = out
        self._identity = identity
        self._bf16 = bf16
        self._choose = choose
        self._file = StateFile(out / "state.safetensors")

    @contextmanager
    def opened(self, state: TrainingState) -> Iterator[TrainingState]:
        """Locks the directory, and puts a state to where the run there is.

        Raises:
            ValueError: the directory holds another run or something else, or another process writes there.
        """
        # First without a lock: what is refused is not touched.
        self._check()
        with OutputLock.inside(self._out):
            noted = self._check()
            if noted is not None:
                self.arithmetic = noted.arithmetic
                self._file.load(state)
            else:
                self.arithmetic = self._choose() if self._bf16 is None else Arithmetic(self._bf16, "as asked for")
            yield state

    def save(self, state: TrainingState) -> None:
        self._file.save(state, self._identity, self.arithmetic)

    def _check(self) -> Noted | None:
        """What the directory holds of this run."""
        noted = self._file.noted()
        if noted is None:
            if not (self._out / "metrics.jsonl").exists():
                refuse_filled(self._out, "training")
            return None
        asked = self._identity | ({} if self._bf16 is None else {"bf16": self._bf16})
        there = noted.identity | {"bf16": noted.arithmetic.bf16}
        check_same(there, asked, f"{self._out} holds a run with another configuration or other data")
        return noted
