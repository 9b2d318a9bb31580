"""How to train, apart from training itself: read and checked before PyTorch is loaded."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from paradp.policy.errors import SettingError

if TYPE_CHECKING:
    from paradp.policy.learning.state import OptimiserSettings
    from paradp.policy.spec import NetworkConfig

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
            if not low <= (value := getattr(self, name)) <= high:  # not a number is within nothing
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
    """How to train.

    Attributes:
        network: `unet` or `transformer`.
        channels: of the U-Net.
        layers: of the transformer.
        embedding: length of the transformer's tokens.
        prediction_type: what the network learns to predict: `epsilon`, `sample` or `v_prediction` of a diffusion policy;
            `flow_prediction` trains a flow instead: the velocity along the straight line from noise to actions, which a few
            steps of flow-N follow. A flow has no noise schedule: beta_schedule, beta_start and beta_end mean nothing to it.
        beta_schedule: of the noise, by diffusers' names.
        beta_start: of the schedules that have one, such as `linear`; the noise of 100 steps, ten times that of 1000.
        beta_end: likewise.
    """

    network: Literal["unet", "transformer"] = "unet"
    channels: tuple[int, ...] = (64, 128, 256)
    layers: int = 8
    embedding: int = 256
    prediction_type: Literal["epsilon", "sample", "v_prediction", "flow_prediction"] = "epsilon"
    beta_schedule: Literal["squaredcos_cap_v2", "linear", "scaled_linear", "sigmoid"] = "squaredcos_cap_v2"
    beta_start: float = 1e-3
    beta_end: float = 0.2

    def __post_init__(self) -> None:
        self.check_numbers()
        from paradp.policy.process import process_of

        alpha_bar = process_of(self.schedule).table.alpha_bar[0]
        if not alpha_bar < 0.05:
            raise SettingError(
                f"this noise schedule ends with ᾱ = {alpha_bar:.2f} and not near 0: its noisiest chunks are not pure noise, "
                "which sampling starts from; choose a larger beta_end",
                "beta_end",
            )
        # Fails here rather than after the demonstrations were read.
        _ = self.network_config

    @property
    def network_config(self) -> "NetworkConfig":
        from paradp.policy.networks.transformer import TransformerConfig
        from paradp.policy.networks.unet import UnetConfig

        if self.network == "transformer":
            return TransformerConfig(layers=self.layers, embedding=self.embedding)
        return UnetConfig(channels=self.channels)

    @property
    def schedule(self) -> dict[str, Any]:
        """The diffusers scheduler config trained with."""
        from paradp.policy.spec import DEFAULT_SCHEDULE, FLOW_SCHEDULE

        if self.prediction_type == "flow_prediction":
            return dict(FLOW_SCHEDULE)
        chosen = {key: getattr(self, key) for key in ("prediction_type", "beta_schedule")}
        if self.beta_schedule != "squaredcos_cap_v2":
            chosen |= {"beta_start": self.beta_start, "beta_end": self.beta_end}
        return DEFAULT_SCHEDULE | chosen

    def check_numbers(self) -> None:
        super().check_numbers()
        if not self.channels or not all(size >= 1 for size in self.channels):
            raise SettingError(f"channels must be positive numbers, not {self.channels}", "channels")
        if not 0 < self.beta_start <= self.beta_end < 1:
            said = f"0 < beta_start ≤ beta_end < 1 is needed, not {self.beta_start} and {self.beta_end}"
            raise SettingError(said, "beta_start", "beta_end")
