"""The parts of a training: a policy, an objective and windows of demonstrations, on the device that computes."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from paradp.policy.data.normalizer import Normalizer, ObservationNormalizer
from paradp.policy.data.windows import TrainingWindows, Windows
from paradp.policy.learning.transfer import send
from paradp.policy.networks.conditional import ConditionalNetwork
from paradp.policy.process import Process
from paradp.policy.spec import PolicySpec

# What was drawn of the windows `[n, …]`, timesteps `[n]` and noise `[n, H, A]`; then the places of images' crops,
# `[n, cameras, 2]`, if an encoder sees them.
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

    def draw(self, windows: TrainingWindows, size: int, generator: torch.Generator) -> Batch:
        """A random batch without places, on the CPU; its shapes depend on the size alone."""
        ...

    def __call__(
        self,
        network: ConditionalNetwork,
        windows: TrainingWindows,
        drawn: Tensor,
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
        start: the policy as training begins; its network is trained in place.
        objective: of a batch of windows.
        training: windows of the demonstrations; if they are streamed, their batches alone lie on the device.
        validation: windows of other episodes.
        earlier: the policy that the run depends on besides demonstrations and settings: where it starts, or its teacher.
    """

    start: TrainedPolicy
    objective: Objective
    training: TrainingWindows
    validation: Windows
    earlier: TrainedPolicy | None

    @property
    def device(self) -> torch.device:
        return self.validation.device

    def batch(self, size: int, seed: int, step: int = 0) -> Batch:
        """A random batch for a training step: drawn on the CPU, so that every device learns from the same ones."""
        self.training.turn_to(step)
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


def draw_batch(process: Process, windows: TrainingWindows, size: int, generator: torch.Generator) -> Batch:
    """Random windows, timesteps of the process, and noise."""
    drawn = windows.draw(size, generator)
    timestep = process.draw(size, generator)
    return drawn, timestep, torch.randn(size, *windows.chunk, generator=generator)
