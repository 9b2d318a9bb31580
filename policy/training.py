"""Training a diffusion policy on demonstrations: autocast, AdamW, cosine decay, EMA; a killed run resumes."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from paradp.policy.arithmetic import Arithmetic, Step, measure, step_on_a_copy
from paradp.policy.conditional import ConditionalNetwork
from paradp.policy.demonstrations import DemonstrationInfo, Demonstrations
from paradp.policy.errors import SettingError
from paradp.policy.files import OutputLock, refuse_filled
from paradp.policy.identity import changed, describe, differences, digest
from paradp.policy.metrics_log import MetricsLog
from paradp.policy.networks import build_network
from paradp.policy.normalizer import Normalizer
from paradp.policy.spec import DEFAULT_SCHEDULE, NetworkConfig, PolicySpec
from paradp.policy.training_config import TrainingConfig
from paradp.policy.training_state import Noted, StateFile, TrainingState
from paradp.policy.windows import Windows, cut_windows


@dataclass(frozen=True)
class TrainedPolicy:
    """What training hands to `save`: the averaged network, and what is needed to use it."""

    spec: PolicySpec
    network: ConditionalNetwork
    observation_normalizer: Normalizer
    action_normalizer: Normalizer


def train(
    demonstrations: Demonstrations,
    config: TrainingConfig,
    out: Path,
    save: Callable[[TrainedPolicy, Path], None],
    on_step: Callable[[int, float], None] = lambda step, loss: None,
    init: TrainedPolicy | None = None,
    on_arithmetic: Callable[[Arithmetic], None] = lambda arithmetic: None,
    choose: Callable[[Step, int], Arithmetic] = measure,
    on_start: Callable[[int], None] = lambda step: None,
) -> TrainedPolicy:
    """Trains a policy; writes `metrics.jsonl`, `state.safetensors` and, through `save`, `checkpoint/` into `out`.

    A run found in `out` is continued from its last state; the result is the same as without the interruption.

    Args:
        demonstrations: what to learn from.
        config: how.
        out: the run's directory.
        save: writes a checkpoint of the averaged network into a directory.
        on_step: called with the number of steps taken and the last loss.
        init: where to start from, its normalisers included, instead of random weights.
        on_arithmetic: called once, before the first step.
        choose: decides on the arithmetic where the configuration leaves it open; called with a step to try, and the batch
            size.
        on_start: called once, before the first step, with the number of steps that were taken before.

    Raises:
        ValueError: the demonstrations cannot be trained on, `init` is for others, `out` holds another run or something
            else, or another process trains there.
        OSError: `out` cannot be written, such as on a full disk; what was saved before is kept.
    """
    torch.manual_seed(config.seed)
    spec = spec_for(demonstrations.info, config.network_config, config.schedule)
    spec = replace(spec, action_step=tuple(demonstrations.largest_step().tolist()))
    training, validation = cut_windows(demonstrations, spec.horizons, config.validation_every)
    start = init or _random_start(spec, training)
    # How far actions step is a fact of the data.
    sides = "in the policy", "in the demonstrations and settings"
    if differing := differences(describe(replace(start.spec, action_step=spec.action_step)), describe(spec), sides):
        raise ValueError(f"the policy to start from was made for other observations, actions or network sizes ({differing})")
    objective = DenoisingObjective(spec, start.observation_normalizer, start.action_normalizer)

    def chosen() -> Arithmetic:
        trial = step_on_a_copy(start.network, lambda network, windows: objective.of_step(network, training, windows, 0))
        return choose(trial, config.batch_size)

    run = _Run(out, _identity(config, demonstrations, init), config.bf16, chosen)
    with run.opened(TrainingState(start.network, config.optimiser)) as state:
        on_arithmetic(run.arithmetic)
        on_start(state.step)
        trained = TrainedPolicy(spec, state.ema.network, start.observation_normalizer, start.action_normalizer)
        log = MetricsLog(out / "metrics.jsonl", state.step)

        def save_all() -> None:
            run.save(state)
            save(trained, out / "checkpoint")

        while state.step < config.steps:
            # A generator of its own for every step makes a resumed run draw what the uninterrupted one would.
            draw = config.seed * 1_000_003 + state.step
            loss_of = partial(objective.of_step, windows=training, size=config.batch_size, seed=draw)
            loss = state.optimise(loss_of, run.arithmetic.bf16)
            if not math.isfinite(loss):
                raise ValueError(f"the loss of step {state.step} is {loss}; {out} keeps the state of the last save")
            on_step(state.step, loss)
            if state.step % config.log_every == 0 or state.step == config.steps:
                validation_loss = objective.validation_loss(state.ema.network, validation)
                log.write(state.step, state.losses.take(), validation_loss, state.learning_rate)
            if state.step % config.save_every == 0 and state.step < config.steps:
                save_all()
        save_all()
    return trained


def _random_start(spec: PolicySpec, training: Windows) -> TrainedPolicy:
    """Random weights, and normalisers fitted to the data."""
    return TrainedPolicy(
        spec,
        build_network(spec),
        Normalizer.fit(training.observations, spec.observation),
        Normalizer.fit(training.actions, spec.action),
    )


def _identity(config: TrainingConfig, demonstrations: Demonstrations, init: TrainedPolicy | None) -> dict[str, Any]:
    """What a run is of: a state is continued only under the same. What it computes in is noted apart."""
    settings = {name: value for name, value in describe(config).items() if name != "bf16"}
    made_for = {name: value for name, value in describe(demonstrations.info).items() if name != "made_with"}
    start = None if init is None else digest(_arrays(init))
    return settings | made_for | {"data": demonstrations.digest(), "init": start}


def _arrays(policy: TrainedPolicy) -> dict[str, np.ndarray]:
    """Weights and normalisers."""
    modules = {
        "network": policy.network,
        "observation": policy.observation_normalizer,
        "action": policy.action_normalizer,
    }
    return {
        f"{what}.{name}": tensor.detach().cpu().numpy()
        for what, module in modules.items()
        for name, tensor in module.state_dict().items()
    }


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
        if differing := differences(there, asked):
            raise SettingError(
                f"{self._out} holds a run with another configuration or other data ({differing}); choose another --out",
                *changed(there, asked),
            )
        return noted


def spec_for(info: DemonstrationInfo, network: NetworkConfig, schedule: Mapping[str, Any] = DEFAULT_SCHEDULE) -> PolicySpec:
    """The policy that fits such demonstrations, with the default horizons."""
    return PolicySpec(
        task=info.task,
        observation=info.observation,
        action=info.action,
        action_low=info.action_low,
        action_high=info.action_high,
        action_convention=info.action_convention,
        control_hz=info.control_hz,
        controller=info.controller,
        schedule=dict(schedule),
        network=network,
    )


_TARGETS: dict[str, Callable[..., Tensor]] = {
    "epsilon": lambda scheduler, clean, noise, timestep: noise,
    "sample": lambda scheduler, clean, noise, timestep: clean,
    "v_prediction": lambda scheduler, clean, noise, timestep: scheduler.get_velocity(clean, noise, timestep),
}


class DenoisingObjective:
    """The mean squared error of the prediction, on normalised windows.

    What is predicted is the noise (Ho et al. 2020, eq. 14), the clean sample, or v = √ᾱ ε − √(1−ᾱ) x_0 (Salimans & Ho 2022).
    """

    def __init__(self, spec: PolicySpec, observation_normalizer: Normalizer, action_normalizer: Normalizer):
        self._scheduler = DDPMScheduler.from_config(spec.schedule)
        self._target = _TARGETS[spec.schedule["prediction_type"]]
        self._observation_normalizer = observation_normalizer
        self._action_normalizer = action_normalizer

    def __call__(self, network: nn.Module, windows: Windows, index: Tensor, timestep: Tensor, noise: Tensor) -> Tensor:
        observations, actions = windows.batch(index)
        condition = self._observation_normalizer.normalize(observations).flatten(1)
        clean = self._action_normalizer.normalize(actions)
        noisy = self._scheduler.add_noise(clean, noise, timestep)  # type: ignore[arg-type]
        target = self._target(self._scheduler, clean, noise, timestep)
        return nn.functional.mse_loss(network(noisy, timestep, condition).float(), target)

    def of_step(self, network: nn.Module, windows: Windows, size: int, seed: int) -> Tensor:
        """The loss on a random batch."""
        return self(network, windows, *self.draw(windows, size, torch.Generator().manual_seed(seed)))

    def draw(self, windows: Windows, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Random windows, timesteps and noise for one batch."""
        index = torch.randint(len(windows), (size,), generator=generator)
        timestep = torch.randint(self._scheduler.config.num_train_timesteps, (size,), generator=generator)
        noise = torch.randn(size, windows.predicted.shape[1], windows.actions.shape[1], generator=generator)
        return index, timestep, noise

    @torch.no_grad()
    def validation_loss(self, network: nn.Module, windows: Windows) -> float:
        """The loss on held-out windows, with the same windows, timesteps and noise every time."""
        return float(self(network, windows, *self.draw(windows, 1024, torch.Generator().manual_seed(0))))
