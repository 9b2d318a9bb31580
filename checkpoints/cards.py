"""Model cards: what a checkpoint was trained on, how, and how well it does."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paradp.policy.demonstrations import DemonstrationInfo
from paradp.policy.spec import NetworkConfig, PolicySpec
from paradp.policy.training import TrainingConfig
from paradp.policy.transformer import TransformerConfig

# What a card says until rollouts of these very weights have been released with it.
UNMEASURED = "Not measured yet."
MEASURED = "## Measured success"
_EARLIER = "## Started from an earlier policy"


@dataclass(frozen=True)
class CardFacts:
    """What a card says of how its policy was made.

    Attributes:
        episodes, steps: of demonstrations.
        training: optimiser steps, how long they took where that was recorded, and whether they were the first.
    """

    episodes: int
    steps: int
    training: str


def read_facts(checkpoint: Path) -> CardFacts:
    """Of the card in a checkpoint's directory.

    Raises:
        ValueError: the card there was written by somebody else.
    """
    card = (checkpoint / "README.md").read_text()
    data = re.search(r"^(\d+) (?:successful )?episodes \((\d+) control steps\)", card, re.MULTILINE)
    steps = re.search(r"^steps (\d+), batch_size (\d+)", card, re.MULTILINE)
    if data is None or steps is None:
        raise ValueError(f"{checkpoint / 'README.md'} does not say what the policy learned from")
    took = re.search(r"^Took (.*)\.$", card, re.MULTILINE)
    training = f"{steps[1]} steps of batch {steps[2]}" + (f", {took[1]}" if took else "")
    return CardFacts(int(data[1]), int(data[2]), training + (", from an earlier policy" if _EARLIER in card else ""))


@dataclass(frozen=True)
class ModelCard:
    """The facts of a model card; `render` writes them as markdown.

    Attributes:
        spec: what the policy is for.
        info: what its demonstrations were made with.
        episodes, steps: how many demonstrations.
        config: how it was trained.
        command: the command that trained it.
        took: how long that was, and on what.
        earlier: the card of the policy that training started from, if it did.
    """

    spec: PolicySpec
    info: DemonstrationInfo
    episodes: int
    steps: int
    config: TrainingConfig
    command: str
    took: str
    earlier: str = ""

    def render(self) -> str:
        spec, schedule = self.spec, self.spec.schedule
        return f"""# {spec.task}: diffusion policy

{_described(spec.network)} that denoises chunks of {spec.horizons.predict} actions from
{spec.horizons.observe} observations; {spec.horizons.execute} of them are executed before it plans again.

| | |
| --- | --- |
| task | {spec.task} |
| observation | {_listed(spec.observation)} |
| action | {spec.action_convention}: {_listed(spec.action)} |
| control rate | {spec.control_hz} Hz |
| controller | {_listed(spec.controller)} |
| noise schedule | {schedule["beta_schedule"]}, {schedule["num_train_timesteps"]} steps, {schedule["prediction_type"]} |

## Data
{self.episodes} episodes ({self.steps} control steps){self._told_by()}.
{_listed(self.info.made_with)}

## Training
    {self.command}

{_listed(_plain(self.config))}

{self.took}

{self._started_from()}{MEASURED}
{UNMEASURED}
"""

    def _told_by(self) -> str:
        """Whose they are; of imported ones all that is known follows."""
        return " of a scripted expert in simulation, not of people" if "expert" in self.info.made_with else ""

    def _started_from(self) -> str:
        """Data and training of the earlier policy, one heading down."""
        if not self.earlier:
            return ""
        making = self.earlier[self.earlier.index("## Data") : self.earlier.index(MEASURED)]
        return f"{_EARLIER}\n" + making.replace("## ", "### ")


def _described(network: NetworkConfig) -> str:
    if isinstance(network, TransformerConfig):
        return f"A transformer, {network.layers} layers of width {network.embedding},"
    return f"A 1-D U-Net, channels {_dashed(network.channels)},"


def _dashed(values: tuple[int, ...]) -> str:
    return "-".join(map(str, values))


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _plain(config: TrainingConfig) -> dict[str, Any]:
    return {key: getattr(config, key) for key in config.__dataclass_fields__}
