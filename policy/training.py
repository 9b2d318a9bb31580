"""Training a diffusion policy on demonstrations: bf16 autocast, AdamW, cosine decay, EMA; a killed run resumes."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from paradp.policy.conditional import ConditionalNetwork
from paradp.policy.demonstrations import DemonstrationInfo, Demonstrations
from paradp.policy.ema import EMA
from paradp.policy.networks import build_network
from paradp.policy.normalizer import Normalizer
from paradp.policy.spec import DEFAULT_SCHEDULE, NetworkConfig, PolicySpec
from paradp.policy.training_config import TrainingConfig
from paradp.policy.windows import Windows, cut_windows


@dataclass(frozen=True)
class TrainingMetrics:
    """One line of the metrics log: losses are mean squared errors of what is predicted, per element."""

    step: int
    train_loss: float
    validation_loss: float
    learning_rate: float
    seconds: float


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
) -> TrainedPolicy:
    """Trains a policy; writes `metrics.jsonl`, `state.safetensors` and, through `save`, `checkpoint/` into `out`.

    A run found in `out` is continued from its last state; the result is the same as without the interruption.

    Args:
        demonstrations: what to learn from.
        config: how.
        out: the run's directory.
        save: writes a checkpoint of the averaged network into a directory.
        on_step: told the number of steps taken and the last loss.
        init: where to start from, its normalisers included, instead of random weights.

    Raises:
        ValueError: the demonstrations cannot be trained on, `init` is for others, or `out` holds another run.
    """
    torch.manual_seed(config.seed)
    spec = spec_for(demonstrations.info, config.network_config, config.schedule)
    spec = replace(spec, action_step=tuple(demonstrations.largest_step().tolist()))
    training, validation = cut_windows(demonstrations, spec.horizons, config.validation_every)
    start = init or _random_start(spec, training)
    if replace(start.spec, action_step=spec.action_step) != spec:
        raise ValueError("the policy to start from was made for other observations, actions or network sizes")
    objective = DenoisingObjective(spec, start.observation_normalizer, start.action_normalizer)
    run = _Run(start.network, config, demonstrations, out, _digest(init.network) if init else None)
    trained = TrainedPolicy(spec, run.ema.network, start.observation_normalizer, start.action_normalizer)
    log = _MetricsLog(out / "metrics.jsonl", run.step)

    def save_all() -> None:
        run.save()
        save(trained, out / "checkpoint")

    losses: list[float] = []
    while run.step < config.steps:
        losses.append(run.optimise(objective, training))
        if not math.isfinite(losses[-1]):
            raise ValueError(f"the loss of step {run.step} is {losses[-1]}; {out} keeps the state of the last save")
        on_step(run.step, losses[-1])
        if run.step % config.log_every == 0 or run.step == config.steps:
            validation_loss = objective.validation_loss(run.ema.network, validation)
            log.write(run.step, sum(losses) / len(losses), validation_loss, run.learning_rate)
            losses.clear()
        if run.step % config.save_every == 0:
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


def _digest(network: nn.Module) -> str:
    return hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in network.parameters())).hexdigest()


class _MetricsLog:
    """`metrics.jsonl`, continued after the step that a resumed run starts from."""

    def __init__(self, path: Path, step: int):
        self._path = path
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        # A kill may have cut the last line short.
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        path.write_text("".join(kept))
        self._seconds_before = json.loads(kept[-1])["seconds"] if kept else 0.0
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall-clock time of the training so far, over all of its processes."""
        return self._seconds_before + time.perf_counter() - self._started

    def write(self, step: int, train_loss: float, validation_loss: float, learning_rate: float) -> None:
        metrics = TrainingMetrics(step, train_loss, validation_loss, learning_rate, self.seconds)
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(metrics)) + "\n")


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


class _Run:
    """What changes from step to step, and its state on disk."""

    def __init__(
        self,
        network: ConditionalNetwork,
        config: TrainingConfig,
        demonstrations: Demonstrations,
        out: Path,
        init: str | None,
    ):
        self.network = network.train().requires_grad_()
        self.ema = EMA(network)
        self.step = 0
        self._config = config
        self._optimiser = torch.optim.AdamW(
            network.parameters(),
            config.learning_rate,
            betas=(0.95, 0.999),
            weight_decay=config.weight_decay,
            fused=True,
        )
        self._path = out / "state.safetensors"
        # What a run is of: a state is continued only under the same.
        self._identity = json.dumps(
            {
                "config": asdict(config),
                "info": asdict(demonstrations.info),
                "episodes": len(demonstrations),
                "init": init,
            },
            sort_keys=True,
        )
        out.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            self._load()

    @property
    def learning_rate(self) -> float:
        """Of the step about to be taken: linear warm-up, then a half cosine to zero."""
        warmup, steps = min(self._config.warmup_steps, self._config.steps), self._config.steps
        if self.step < warmup:
            return self._config.learning_rate * (self.step + 1) / warmup
        return self._config.learning_rate * 0.5 * (1 + math.cos(math.pi * (self.step - warmup) / max(steps - warmup, 1)))

    def optimise(self, objective: DenoisingObjective, windows: Windows) -> float:
        """One optimiser step; returns its loss."""
        # A generator of its own for every step makes a resumed run draw what the uninterrupted one would.
        generator = torch.Generator().manual_seed(self._config.seed * 1_000_003 + self.step)
        batch = objective.draw(windows, self._config.batch_size, generator)
        for group in self._optimiser.param_groups:
            group["lr"] = self.learning_rate
        with torch.autocast("cpu", torch.bfloat16, enabled=self._config.bf16):
            loss = objective(self.network, windows, *batch)
        self._optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._optimiser.step()
        self.ema.update(self.network, self.step)
        self.step += 1
        return loss.item()

    def save(self) -> None:
        """Writes all that a later process needs to continue; the old state stays until the new one is whole."""
        metadata = {"step": str(self.step), "identity": self._identity}
        partial = self._path.with_suffix(".partial")
        save_file({name: t.contiguous() for name, t in self._tensors().items()}, partial, metadata)
        partial.replace(self._path)

    def _load(self) -> None:
        try:
            with safe_open(self._path, "pt") as file:
                metadata = file.metadata()
                if metadata["identity"] != self._identity:
                    raise ValueError(
                        f"{self._path.parent} holds a run with another configuration or data; choose another --out"
                    )
                # AdamW creates its moments at the first step; a step with zero gradients makes room for the stored ones.
                self._create_moments()
                for name, tensor in self._tensors().items():
                    tensor.copy_(file.get_tensor(name))
        except (SafetensorError, KeyError) as error:
            raise ValueError(f"{self._path} is damaged: {error}") from error
        self.step = int(metadata["step"])

    def _create_moments(self) -> None:
        for parameter in self.network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        self._optimiser.step()

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"network.{name}": p.data for name, p in self.network.named_parameters()}
        tensors |= {f"ema.{name}": p.data for name, p in self.ema.network.named_parameters()}
        for i, state in self._optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{i}.{key}": value for key, value in state.items()}
        return tensors
