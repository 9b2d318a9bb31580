"""The parts of a training: a policy, an objective and windows of demonstrations, on the device that computes."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from paradp.policy.data.normalizer import Normalizer, ObservationNormalizer
from paradp.policy.data.windows import Windows
from paradp.policy.learning.transfer import send
from paradp.policy.networks.conditional import ConditionalNetwork
from paradp.policy.process import Process
from paradp.policy.spec import PolicySpec

# Windows `[n]`, timesteps `[n]` and noise `[n, H, A]`; with an image encoder also the positions of crops, `[n, cameras, 2]`.
Batch = tuple[Tensor, ...]
# Number of windows for a validation loss; fewer with an image encoder, which takes longer.
_VALIDATED, _VALIDATED_WITH_IMAGES = 1024, 256


@dataclass(frozen=True)
class TrainedPolicy:
    """A trained policy as passed to `save`: the averaged network, its specification and its normalisers."""

    spec: PolicySpec
    network: ConditionalNetwork
    observation_normalizer: ObservationNormalizer
    action_normalizer: Normalizer

    def move(self, device: torch.device) -> None:
        """Moves network and normalisers to a device."""
        for module in (self.network, self.observation_normalizer, self.action_normalizer):
            module.to(device)


class Objective(Protocol):
    """A loss that a training minimises."""

    def draw(self, windows: Windows, size: int, generator: torch.Generator) -> Batch:
        """Draws a random batch without positions of crops, on the CPU; its shapes depend only on the size."""
        ...

    def __call__(
        self,
        network: ConditionalNetwork,
        windows: Windows,
        index: Tensor,
        timestep: Tensor,
        noise: Tensor,
        places: Tensor | None = None,
    ) -> Tensor:
        """Computes the loss on a batch on the windows' device; no branch depends on values.

        Without positions of crops, images are cropped in the middle.
        """
        ...


@dataclass(frozen=True)
class Lesson:
    """The parts of a training, all on one device.

    Attributes:
        start: the policy at the start; its network is trained in place.
        objective: computes the loss of a batch of windows.
        training, validation: windows of the demonstrations.
        earlier: the policy that the training starts from, or its teacher, if any.
    """

    start: TrainedPolicy
    objective: Objective
    training: Windows
    validation: Windows
    earlier: TrainedPolicy | None

    @property
    def device(self) -> torch.device:
        return self.training.device

    def batch(self, size: int, seed: int) -> Batch:
        """Draws a random batch on the CPU, so that it is the same for every device."""
        generator = torch.Generator().manual_seed(seed)
        drawn = self.objective.draw(self.training, size, generator)
        vision = self.start.network.vision
        return self._sent(drawn if vision is None else (*drawn, vision.draw_places(size, generator)))

    def loss(self, network: ConditionalNetwork, *batch: Tensor) -> Tensor:
        return self.objective(network, self.training, *batch)

    @torch.no_grad()
    def validation_loss(self, network: ConditionalNetwork) -> float:
        """The loss on held-out windows, always with the same timesteps and noise, and with images cropped in the middle."""
        size = _VALIDATED if network.vision is None else _VALIDATED_WITH_IMAGES
        drawn = self.objective.draw(self.validation, size, torch.Generator().manual_seed(0))
        return float(self.objective(network, self.validation, *self._sent(drawn)))

    def _sent(self, batch: Batch) -> Batch:
        return tuple(send(part, self.device) for part in batch)


def draw_batch(process: Process, windows: Windows, size: int, generator: torch.Generator) -> Batch:
    """Draws random windows, timesteps of the process, and noise."""
    index = torch.randint(len(windows), (size,), generator=generator)
    timestep = process.draw(size, generator)
    return index, timestep, torch.randn(size, *windows.chunk, generator=generator)
