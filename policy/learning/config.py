"""How to train, apart from training itself: read and checked before PyTorch is loaded."""

from dataclasses import dataclass, field
from typing import Any

from paradp.policy.choices import Scaling
from paradp.policy.learning.optimiser import OptimiserSettings
from paradp.policy.networks.configs import all_networks
from paradp.policy.networks.network_config import NetworkConfig
from paradp.policy.networks.unet_config import UnetConfig
from paradp.policy.process_config import DiffusionConfig, ProcessConfig
from paradp.policy.settings import Limits, setting


@dataclass(frozen=True)
class LearningConfig(OptimiserSettings):
    """How long and how fast to learn, whatever is learned.

    Attributes:
        bf16: compute in bfloat16 under autocast; weights and optimiser stay float32. By default a step of each is timed
            and the faster taken: on processors without bf16 instructions that is float32, by far.
        validation_every: every that-many-th episode is held out.
        log_every: steps between entries of the metrics log.
        save_every: steps between checkpoints and resumable states.
        seed: of the weights, the batches and the noise.
    """

    bf16: bool | None = setting(None, option=False)  # the two flags of `paradp train` are its own
    validation_every: int = setting(50, Limits(2, 10**9))
    log_every: int = setting(100, Limits(1, 10**9))
    save_every: int = setting(1000, Limits(1, 10**9))
    seed: int = setting(0, Limits(0, 2**62))


@dataclass(frozen=True)
class DistillationConfig(LearningConfig):
    """How to distill a diffusion policy.

    Attributes:
        skip: how many timesteps one step of the teacher covers: fewer follow its trajectory more closely, more carry what is
            learned near the data to the noise faster.
    """

    skip: int = setting(5, Limits(1, 10_000))


@dataclass(frozen=True)
class TrainingConfig(LearningConfig):
    """How to train.

    Attributes:
        network: what is trained, and its sizes.
        process: what the network learns to undo: `diffusion`, or `flow`: the network predicts the velocity along the
            straight line from noise to actions, which a few steps of flow-N follow.
        observation_scaling: how observed vectors are scaled: `min-max` by their limits in the demonstrations, `mean-std` by
            mean and standard deviation, or `identity`, not at all. Images are scaled from the range of their type, and
            actions by their limits, which samples are clipped to.
    """

    network: NetworkConfig = setting(UnetConfig(), kinds=all_networks)
    process: ProcessConfig = field(default=DiffusionConfig())
    observation_scaling: Scaling = setting("min-max", later=True)

    def settings(self) -> dict[str, Any]:
        own = {name: value for name, value in super().settings().items() if name not in ("network", "process")}
        return own | {"network": self.network.kind} | self.network.settings() | self.process.settings()

    def assumed(self) -> dict[str, Any]:
        return super().assumed() | self.network.assumed() | self.process.assumed()
