"""What a training is of: settings, data, policy to start from. Its state notes it, and it is continued only as itself."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from paradp.policy.data.dataset import Dataset
from paradp.policy.data.episode import DemonstrationInfo
from paradp.policy.identity import as_json, check_same, describe, digest
from paradp.policy.learning.config import LearningConfig
from paradp.policy.learning.lesson import TrainedPolicy
from paradp.policy.learning.state import Noted


@dataclass(frozen=True)
class TrainingIdentity:
    """Everything that a training's weights depend on, but the arithmetic, which is noted apart.

    Attributes:
        config: how it learns.
        demonstrations: what its data are of; how they were made does not count.
        data: digest of their content.
        init: digest of weights and normalisers of the policy that it starts from, or distills; `None` without one.
    """

    config: LearningConfig
    demonstrations: DemonstrationInfo
    data: str
    init: str | None

    @classmethod
    def of(cls, config: LearningConfig, demonstrations: Dataset, earlier: TrainedPolicy | None) -> "TrainingIdentity":
        """Reads all data and weights for their digests."""
        start = None if earlier is None else digest(_arrays(earlier))
        return cls(config, demonstrations.info, demonstrations.digest(), start)

    def document(self) -> dict[str, Any]:
        """As a state has it, in JSON: settings and description side by side."""
        settings = {name: value for name, value in as_json(self.config.settings()).items() if name != "bf16"}
        made_for = {name: value for name, value in describe(self.demonstrations).items() if name != "made_with"}
        return settings | made_for | {"data": self.data, "init": self.init}

    def check(self, noted: Noted, holds: str) -> None:
        """Checks that a state is of this training.

        Args:
            noted: what the state says.
            holds: as in `check_same`.

        Raises:
            SettingError: the state belongs to another training, or to another number format than requested.
        """
        assumed, bf16 = as_json(self.config.assumed()), self.config.bf16
        asked = self.document() | ({} if bf16 is None else {"bf16": bf16})
        there = noted.identity | {"bf16": noted.arithmetic.bf16}
        check_same(assumed | there, assumed | asked, holds)


def _arrays(policy: TrainedPolicy) -> dict[str, np.ndarray]:
    """Weights and normalisers."""
    observation, action = policy.observation_normalizer, policy.action_normalizer
    tensors = {f"network.{name}": tensor for name, tensor in policy.network.state_dict().items()} | {
        "observation.offset": observation.offset,
        "observation.scale": observation.scale,
        "action.offset": action.offset,
        "action.scale": action.scale,
    }
    for name, shift in (("observation.shift", observation.shift), ("action.shift", action.shift)):
        if shift.any():  # a normaliser of ours has none
            tensors[name] = shift
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
