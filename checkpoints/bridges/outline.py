"""Describes a policy stored in a single file, of whichever program, and converts it to a policy of paradp."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from paradp.bridges.facts import AS_RECORDED, Facts
from paradp.bridges.naming import observed_as, parts_of
from paradp.bridges.tensor_names import COMPUTED, encoder_name, transformer_name, unet_name
from paradp.bridges.torch_file import SavedTensor, TorchFile
from paradp.policy.data.normalizer import Normalizer, ObservationNormalizer
from paradp.policy.features import Shape
from paradp.policy.horizons import Horizons
from paradp.policy.learning.lesson import TrainedPolicy
from paradp.policy.networks.building import build_network, shapes_of
from paradp.policy.networks.transformer_config import TransformerConfig
from paradp.policy.networks.unet_config import UnetConfig
from paradp.policy.networks.vision.config import VisionConfig
from paradp.policy.spec import PolicySpec


@dataclass(frozen=True)
class Weights:
    """The tensors of a policy, by its program's names.

    Attributes:
        tensors: those that our networks have as well.
        network: prefix of the denoising network's names.
        encoder: prefix of the image encoder's names.
        scales: whether the U-Net's FiLM has scales besides biases.
    """

    tensors: Mapping[str, SavedTensor]
    network: str
    encoder: str
    scales: bool = True


@dataclass(frozen=True)
class Outline:
    """A policy as its file describes it.

    Attributes:
        file: the file.
        whose: name of the program.
        seen: shapes of the observed features, in the network's order.
        actions: length of an action.
        horizons, schedule, network, vision: as in `PolicySpec`.
        sampler: the sampler that the program itself uses.
        weights: its tensors.
        normalizer: returns the normaliser of an observed feature, or of `action`.
    """

    file: TorchFile
    whose: str
    seen: dict[str, Shape]
    actions: int
    horizons: Horizons
    schedule: dict[str, Any]
    network: UnetConfig | TransformerConfig
    vision: VisionConfig | None
    sampler: str
    weights: Weights
    normalizer: Callable[[str], Normalizer]

    def spec(self, facts: Facts) -> PolicySpec:
        """Returns the policy's specification.

        Raises:
            ValueError: a fact is missing or does not fit.
        """
        path = self.file.path
        facts.needed(path, self.actions)
        # For the type checker: `needed` has checked it.
        assert facts.task is not None and facts.control_hz is not None
        assert facts.action_low is not None and facts.action_high is not None
        try:
            return PolicySpec(
                task=facts.task,
                observation=observed_as(self.seen, facts.observation or {}),
                action=parts_of("action", self.actions, facts.action or {"action": self.actions}),
                action_low=facts.action_low,
                action_high=facts.action_high,
                action_convention=facts.action_convention or AS_RECORDED,
                control_hz=facts.control_hz,
                horizons=self.horizons,
                controller=facts.controller or {},
                action_step=facts.action_step,
                schedule=self.schedule,
                network=self.network,
                vision=self.vision,
            )
        except ValueError as error:
            raise ValueError(f"{path} cannot be used: {error}") from error

    def read(self, facts: Facts) -> TrainedPolicy:
        """Reads the policy with its weights.

        Raises:
            ValueError: as `spec`, or its tensors do not fit the network.
        """
        spec = self.spec(facts)
        try:
            # The declared sizes are compared with the file before any memory is allocated for them.
            self._check(shapes_of(spec))
            network = build_network(spec)
            self._fill(network.state_dict())
        except ValueError as error:
            raise ValueError(f"{self.file.path} cannot be read: {error}") from error
        normalizers = ObservationNormalizer({key: self.normalizer(key) for key in self.seen})
        # One vector of the file may be several observations here: join the statistics, and split them at our parts.
        numbers = normalizers.offset, normalizers.scale, normalizers.shift
        return TrainedPolicy(
            spec, network.eval(), ObservationNormalizer.of(spec.observed, *numbers), self.normalizer("action")
        )

    def _check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Checks that the file has exactly the tensors of our network; tensors that share a storage count once."""
        tensors, taken = self.weights.tensors, 0
        named = {name: self._their_name(name) for name in shapes if COMPUTED not in name}
        for name, theirs in named.items():
            if (saved := tensors.get(theirs)) is None:
                raise ValueError(f"the tensor {theirs!r:.120} is missing")
            expected = self._their_shape(name, shapes[name])
            if saved.shape != expected and saved.shape != (1, *expected):
                raise ValueError(f"the tensor {theirs!r:.120} has shape {list(saved.shape)}, not {list(expected)}")
            taken += saved.bytes
        stored = {saved.storage: saved.storage.count * saved.storage.dtype.itemsize for saved in tensors.values()}
        if taken > sum(stored.values()):
            raise ValueError("several of its tensors share their values, which together are more than the file has")
        if extra := next(iter(tensors.keys() - set(named.values())), None):
            raise ValueError(f"nothing takes its tensor {extra!r:.120}")

    @torch.no_grad()
    def _fill(self, state: Mapping[str, Tensor]) -> None:
        """Reads the tensors. If the file's FiLM has only biases, the scales of ours are set to 1."""
        pairs = []
        for name, tensor in state.items():
            if COMPUTED in name:
                continue
            if self._is_doubled(name):
                tensor[: len(tensor) // 2] = 1.0 if name.endswith("bias") else 0.0
                tensor = tensor[len(tensor) // 2 :]
            saved = self.weights.tensors[self._their_name(name)]
            pairs.append((saved, tensor.view(saved.shape)))
        self.file.fill(pairs)

    def _their_name(self, name: str) -> str:
        if name.startswith("vision."):
            cameras = [key for key, shape in self.seen.items() if not isinstance(shape, int)]
            return self.weights.encoder + encoder_name(name.removeprefix("vision."), cameras)
        return self.weights.network + (unet_name if isinstance(self.network, UnetConfig) else transformer_name)(name)

    def _their_shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[0] // 2, *shape[1:]) if self._is_doubled(name) else shape

    def _is_doubled(self, name: str) -> bool:
        return not self.weights.scales and ".film." in name and not name.startswith("vision.")
