"""How to train, apart from training itself: read and checked before PyTorch is loaded."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from paradp.policy.errors import SettingError

if TYPE_CHECKING:
    from paradp.policy.learning.state import OptimiserSettings
    from paradp.policy.spec import NetworkConfig

_LOG = logging.getLogger(__name__)
DEFAULT_BETA_SCHEDULE = "squaredcos_cap_v2"
# What each network and each process has settings for, with the defaults.
_BETAS: dict[str, Any] = {"beta_start": 1e-3, "beta_end": 0.2}
_NETWORKS: dict[str, dict[str, Any]] = {
    "unet": {"channels": (64, 128, 256)},
    "transformer": {"layers": 8, "embedding": 256},
}
_DIFFUSION: dict[str, Any] = {"prediction_type": "epsilon", "beta_schedule": DEFAULT_BETA_SCHEDULE, **_BETAS}
_OWNERS = {
    "channels": "the network unet",
    **dict.fromkeys(("layers", "embedding"), "the network transformer"),
    **dict.fromkeys(("prediction_type", "beta_schedule"), "the process diffusion"),
    **dict.fromkeys(_BETAS, "a beta_schedule such as linear"),
}
# The least and the most of each number.
_LIMITS: dict[str, tuple[float, float]] = {
    "steps": (1, 1e9),
    "batch_size": (1, 1e6),
    "learning_rate": (0, 1e3),
    "warmup_steps": (0, 1e9),
    "weight_decay": (0, 1e3),
    "validation_every": (2, 1e9),
    "log_every": (1, 1e9),
    "save_every": (1, 1e9),
    "seed": (0, 2**62),
    "layers": (1, 100),
    "embedding": (1, 8192),
    "skip": (1, 10_000),
}


@dataclass(frozen=True)
class LearningConfig:
    """How long and how fast to learn, whatever is learned.

    Attributes:
        steps: optimiser steps in all; the learning rate decays to zero over them.
        batch_size: windows a step.
        learning_rate: peak, after the warm-up.
        warmup_steps: steps of linear warm-up.
        weight_decay: of AdamW.
        bf16: compute in bfloat16 under autocast; weights and optimiser stay float32. By default a step of each is timed
            and the faster taken: on processors without bf16 instructions that is float32, by far.
        validation_every: every that-many-th episode is held out.
        log_every: steps between entries of the metrics log.
        save_every: steps between checkpoints and resumable states.
        seed: of the weights, the batches and the noise.
    """

    steps: int = 20_000
    batch_size: int = 256
    learning_rate: float = 1e-3
    warmup_steps: int = 500
    weight_decay: float = 1e-6
    bf16: bool | None = None
    validation_every: int = 50
    log_every: int = 100
    save_every: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        self.check_numbers()

    def settings(self) -> dict[str, Any]:
        """Every setting that counts, by name, with defaults filled in: what a run is known by, and a card lists."""
        return asdict(self)

    @property
    def optimiser(self) -> "OptimiserSettings":
        from paradp.policy.learning.state import OptimiserSettings

        return OptimiserSettings(self.steps, self.learning_rate, self.warmup_steps, self.weight_decay)

    def check_numbers(self) -> None:
        """Raises:
        SettingError: a number is out of its limits.
        """
        for name in [name for name in _LIMITS if hasattr(self, name)]:
            low, high = _LIMITS[name]
            if (value := getattr(self, name)) is not None and not low <= value <= high:  # not a number is within nothing
                raise SettingError(f"{name} must be from {low:g} to {high:.15g}, not {value}", name)
        if not self.learning_rate > 0:
            raise SettingError(f"learning_rate must be more than 0, not {self.learning_rate}", "learning_rate")


@dataclass(frozen=True)
class DistillationConfig(LearningConfig):
    """How to distill a diffusion policy.

    Attributes:
        skip: how many timesteps one step of the teacher covers: fewer follow its trajectory more closely, more carry what is
            learned near the data to the noise faster.
    """

    skip: int = 5


@dataclass(frozen=True)
class TrainingConfig(LearningConfig):
    """How to train. What is `None` has the default of the network or process that it is a setting of.

    Attributes:
        network: `unet` or `transformer`.
        process: `diffusion`, or `flow`: a network that predicts the velocity along the straight line from noise to actions,
            which a few steps of flow-N follow.
        channels: of the U-Net; 64 128 256 by default.
        layers: of the transformer; 8 by default.
        embedding: length of the transformer's tokens; 256 by default.
        prediction_type: what a diffusion policy predicts: `epsilon` (the default), `sample` or `v_prediction`. An older
            spelling, `flow_prediction`, stands for the process `flow`.
        beta_schedule: of a diffusion's noise, by diffusers' names; squaredcos_cap_v2 by default.
        beta_start: of the schedules that have one, such as `linear`: the noise of 100 steps, ten times that of 1000; by
            default 0.001.
        beta_end: likewise; 0.2 by default.
    """

    network: Literal["unet", "transformer"] = "unet"
    process: Literal["diffusion", "flow"] = "diffusion"
    channels: tuple[int, ...] | None = None
    layers: int | None = None
    embedding: int | None = None
    prediction_type: Literal["epsilon", "sample", "v_prediction", "flow_prediction"] | None = None
    beta_schedule: Literal["squaredcos_cap_v2", "linear", "scaled_linear", "sigmoid"] | None = None
    beta_start: float | None = None
    beta_end: float | None = None

    def __post_init__(self) -> None:
        if self.prediction_type == "flow_prediction":
            _LOG.warning("prediction_type flow_prediction is now process flow")
            object.__setattr__(self, "process", "flow")
            object.__setattr__(self, "prediction_type", None)
        self.check_numbers()
        # Fails here rather than after the demonstrations were read.
        _ = self.network_config
        from paradp.policy.process import process_of

        alpha_bar = process_of(self.schedule).table.alpha_bar[0]
        if not alpha_bar < 0.05:
            raise SettingError(
                f"this noise schedule ends with ᾱ = {alpha_bar:.2f} and not near 0: its noisiest chunks are not pure noise, "
                "which sampling starts from; choose a larger beta_end",
                "beta_end",
            )

    @property
    def network_config(self) -> "NetworkConfig":
        from paradp.policy.networks.transformer import TransformerConfig
        from paradp.policy.networks.unet import UnetConfig

        kind = TransformerConfig if self.network == "transformer" else UnetConfig
        return kind(**self._network())

    @property
    def schedule(self) -> dict[str, Any]:
        """The diffusers scheduler config trained with."""
        from paradp.policy.spec import DEFAULT_SCHEDULE, FLOW_SCHEDULE

        return dict(FLOW_SCHEDULE) if self.process == "flow" else DEFAULT_SCHEDULE | self._process()

    def settings(self) -> dict[str, Any]:
        # A flow goes by the name that states of earlier versions hold.
        process = self._process() or {"prediction_type": "flow_prediction"}
        every = {name: value for name, value in super().settings().items() if name not in (*_OWNERS, "process")}
        return every | self._network() | process

    def check_numbers(self) -> None:
        super().check_numbers()
        own = self._network() | self._process()
        for name in _OWNERS:
            if name not in own and getattr(self, name) is not None:
                raise SettingError(f"{name} is a setting of {_OWNERS[name]}, which this training does not have", name)
        if self.channels is not None and not (self.channels and all(size >= 1 for size in self.channels)):
            raise SettingError(f"channels must be positive numbers, not {self.channels}", "channels")
        start, end = (self._chosen(_BETAS)[name] for name in _BETAS)
        if not 0 < start <= end < 1:
            raise SettingError(f"0 < beta_start ≤ beta_end < 1 is needed, not {start} and {end}", *_BETAS)

    def _network(self) -> dict[str, Any]:
        return self._chosen(_NETWORKS[self.network])

    def _process(self) -> dict[str, Any]:
        """A diffusion's settings, those that its schedule has; a flow has none."""
        if self.process == "flow":
            return {}
        chosen = self._chosen(_DIFFUSION)
        if chosen["beta_schedule"] == DEFAULT_BETA_SCHEDULE:
            return {name: value for name, value in chosen.items() if name not in _BETAS}
        return chosen

    def _chosen(self, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """Settings as they were given, or by default."""
        given = {name: getattr(self, name) for name in defaults}
        return {name: default if given[name] is None else given[name] for name, default in defaults.items()}
