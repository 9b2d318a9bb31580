"""The identity of a training: settings, data, initial policy. It is stored in its state; only the same one is continued."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paradp.policy.data.dataset import Dataset
from paradp.policy.data.episode import DemonstrationInfo
from paradp.policy.identity import as_json, changed, check_same, describe, digest
from paradp.policy.learning.config import LearningConfig, TrainingConfig
from paradp.policy.learning.lesson import TrainedPolicy
from paradp.policy.learning.state import Noted
from paradp.policy.settings import setting_fields

# Settings that people change to train a policy longer.
_LENGTH = {"steps", "save_every"}


@dataclass(frozen=True)
class TrainingIdentity:
    """Everything that a training's weights depend on, except the number format, which is stored separately.

    Attributes:
        config: settings of the training.
        demonstrations: description of its data, without how they were made.
        data: digest of their content.
        init: digest of weights and normalisers of the policy that it starts from, or distils; `None` without one.
    """

    config: LearningConfig
    demonstrations: DemonstrationInfo
    data: str
    init: str | None

    @classmethod
    def of(cls, config: LearningConfig, demonstrations: Dataset, earlier: TrainedPolicy | None) -> "TrainingIdentity":
        """Makes the identity; reads all data and weights for their digests."""
        start = None if earlier is None else digest(_arrays(earlier))
        return cls(config, demonstrations.info, demonstrations.digest(), start)

    def document(self) -> dict[str, Any]:
        """The identity as JSON values in the state, with settings and description on one level."""
        settings = {name: value for name, value in as_json(self.config.settings()).items() if name != "bf16"}
        made_for = {name: value for name, value in describe(self.demonstrations).items() if name != "made_with"}
        return settings | made_for | {"data": self.data, "init": self.init}

    def check(self, noted: Noted, out: Path) -> None:
        """Checks that a state belongs to this training.

        Args:
            noted: the description in the state.
            out: the directory of the state's training.

        Raises:
            SettingError: the state belongs to another training, or to another number format than requested.
        """
        assumed, bf16 = as_json(self.config.assumed()), self.config.bf16
        asked = self.document() | ({} if bf16 is None else {"bf16": bf16})
        there = noted.identity | {"bf16": noted.arithmetic.bf16}
        there, asked = assumed | there, assumed | asked
        remedy = f"choose another --out{self._trained_on(changed(there, asked), out)}"
        check_same(there, asked, f"{out} holds a run with another configuration or other data", remedy)

    def _trained_on(self, other: list[str], out: Path) -> str:
        """How to train the policy of a run on, if only settings of its learning differ, and not its policy or its data."""
        learning = {declared.name for declared in setting_fields(LearningConfig)}
        if not isinstance(self.config, TrainingConfig) or not _LENGTH & {*other} or not learning >= {*other}:
            return ""
        return f". To train its policy on, start a new run from it: --init {out}/checkpoint"


def _arrays(policy: TrainedPolicy) -> dict[str, np.ndarray]:
    """Yields weights and normalisers."""
    observation, action = policy.observation_normalizer, policy.action_normalizer
    tensors = {f"network.{name}": tensor for name, tensor in policy.network.state_dict().items()} | {
        "observation.offset": observation.offset,
        "observation.scale": observation.scale,
        "action.offset": action.offset,
        "action.scale": action.scale,
    }
    for name, shift in (("observation.shift", observation.shift), ("action.shift", action.shift)):
        if shift.any():  # zero for normalisers that paradp fitted
            tensors[name] = shift
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
