"""Settings of trainings, checked before PyTorch is loaded."""

from dataclasses import dataclass
from typing import Any

from paradp.policy.choices import Scaling
from paradp.policy.files.limits import MOST_HORIZON, MOST_OBSERVED
from paradp.policy.horizons import Horizons
from paradp.policy.learning.optimiser import OptimiserSettings
from paradp.policy.networks.configs import all_networks
from paradp.policy.networks.network_config import NetworkConfig
from paradp.policy.networks.unet_config import UnetConfig
from paradp.policy.networks.vision.config import Vision, VisionConfig
from paradp.policy.process_config import DiffusionConfig, ProcessConfig
from paradp.policy.settings import Limits, setting


@dataclass(frozen=True)
class LearningConfig(OptimiserSettings):
    """Settings that all trainings share.

    Attributes:
        bf16: compute in bfloat16 under autocast; weights and optimiser stay float32. By default both are timed, and the
            faster one is used; without bf16 instructions that is float32.
        validation_every: hold out every n-th episode for validation. Ranges for normalisation are those of all episodes.
        log_every: steps between entries of the metrics log.
        save_every: steps between checkpoints and resumable states.
        seed: seed of the weights, the batches and the noise.
        image_memory: MiB of images to hold: if there are more, they are streamed from disk, block by block in random order.
            By default all are held if they take at most four fifths of the free memory, and otherwise as many as fit into
            half of it; of several processes on a machine, each takes its share. A run that is continued keeps its number.
    """

    bf16: bool | None = setting(None, option=False)  # `paradp train` defines the two flags itself
    validation_every: int = setting(50, Limits(2, 10**9))
    log_every: int = setting(100, Limits(1, 10**9))
    save_every: int = setting(1000, Limits(1, 10**9))
    seed: int = setting(0, Limits(0, 2**32 - 1))
    image_memory: int | None = setting(None, Limits(1, 2**24), later=True)


@dataclass(frozen=True)
class DistillationConfig(LearningConfig):
    """Settings of the distillation of a diffusion policy.

    Attributes:
        teacher_steps: DDIM steps in which the teacher goes from pure noise to the end that the student learns. More steps
            are more accurate and slower.
    """

    teacher_steps: int = setting(8, Limits(1, 10_000))


@dataclass(frozen=True)
class TrainingConfig(LearningConfig):
    """Settings of the training of a policy.

    Attributes:
        network: the type of network, with its sizes.
        process: the noising process: `diffusion`, or `flow`, where the network predicts the velocity along the straight line
            from noise to actions, which flow-N follows in a few steps.
        vision: the network's input from images: features of a `resnet`, or their plain `pixels`.
        observation_scaling: scaling of observed vectors: `min-max` by their limits in the demonstrations, `mean-std` by mean
            and standard deviation, or `identity` for none. Images are scaled by the range of their type, and actions by
            their limits, to which samples are clipped.
        observe: control steps whose observations the policy sees.
        predict: actions in a chunk; the first belongs to the first observed step.
        execute: actions that are executed before the next chunk. The network does not depend on it: rollouts can use another
            number.
    """

    network: NetworkConfig = setting(UnetConfig(), kinds=all_networks, inherited=True)
    process: ProcessConfig = setting(DiffusionConfig(), inherited=True)
    vision: Vision = setting(VisionConfig(), later=True, inherited=True)
    observation_scaling: Scaling = setting("min-max", later=True, inherited=True)
    observe: int = setting(Horizons.observe, Limits(1, MOST_OBSERVED), later=True, inherited=True)
    predict: int = setting(Horizons.predict, Limits(1, MOST_HORIZON), later=True, inherited=True)
    execute: int = setting(Horizons.execute, Limits(1, MOST_HORIZON), later=True, inherited=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.network.check_horizon(self.horizons.predict)

    @property
    def horizons(self) -> Horizons:
        """Raises:
        SettingError: more steps are executed than predicted.
        """
        return Horizons(self.observe, self.predict, self.execute)

    def settings(self) -> dict[str, Any]:
        own = {name: value for name, value in super().settings().items() if name not in ("network", "process", "vision")}
        seen = {} if self.vision.kind == VisionConfig.kind else {"vision": self.vision.kind}
        parts = self.network.settings() | self.process.settings() | seen | self.vision.settings()
        return own | {"network": self.network.kind} | parts

    def assumed(self) -> dict[str, Any]:
        vision = VisionConfig().assumed() | {"vision": VisionConfig.kind}
        return super().assumed() | self.network.assumed() | self.process.assumed() | vision
