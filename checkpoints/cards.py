"""Model cards: what a checkpoint was trained on, how, and how well it does."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paradp.policy.data.episode import DemonstrationInfo
from paradp.policy.files.limits import CARD_BYTES
from paradp.policy.files.reading import read_text
from paradp.policy.learning.config import LearningConfig
from paradp.policy.spec import PolicySpec
from paradp.policy.wording import counted


@dataclass(frozen=True)
class _Kind:
    """What a card calls a policy, and what it says of how to sample it."""

    name: str
    sampled: str = ""


_KINDS = {
    "diffusion": _Kind("diffusion policy"),
    "consistency": _Kind(
        "distilled policy",
        "\n\nIt was distilled into a consistency model: sample it with `consistency-N`, such as `consistency-2`, and with no"
        "\nsampler of diffusion.",
    ),
    "flow": _Kind("flow policy", "\n\nIt was trained by flow matching: sample it with `flow-N`, such as `flow-10`."),
}
# What a card says until rollouts of these very weights have been released with it.
UNMEASURED = "Not measured yet."
MEASURED = "## Measured success"


@dataclass(frozen=True)
class Trained:
    """What a card says of one training.

    Attributes:
        episodes, control_steps: of demonstrations.
        steps, batch_size: of the optimiser.
        took: how long, and on what; empty where that was not recorded.
    """

    episodes: int
    control_steps: int
    steps: int
    batch_size: int
    took: str

    def describe(self) -> str:
        """In a few words."""
        return f"{counted(self.steps, 'step')} of batch {self.batch_size}, {self.took or 'time not recorded'}"


def read_trainings(checkpoint: Path) -> list[Trained]:
    """Of the card in a checkpoint's directory: the last training, and before it those that it started from.

    Raises:
        ValueError: the card there was written by somebody else.
    """
    card = read_text(checkpoint / "README.md", CARD_BYTES)
    sections = re.split(r"^#+ Data$", card, flags=re.MULTILINE)[1:]
    trainings = [trained for section in sections if (trained := _trained(section))]
    if not sections or len(trainings) < len(sections):
        raise ValueError(f"{checkpoint / 'README.md'} does not say what the policy learned from")
    return trainings


def _trained(section: str) -> Trained | None:
    """From the heading of the data on."""
    data = re.search(r"^(\d+) (?:successful )?episodes? \((\d+) control steps?\)", section, re.MULTILINE)
    steps = re.search(r"^steps (\d+), batch_size (\d+)", section, re.MULTILINE)
    if data is None or steps is None:
        return None
    stopped = re.search(r"# stopped after (\d+) steps", section)
    took = re.search(r"^Took (.*)\.$", section, re.MULTILINE)
    return Trained(
        int(data[1]), int(data[2]), int((stopped or steps)[1]), int(steps[2]), took[1] if took is not None else ""
    )


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
        earlier: the card of the policy that training started from, or that was distilled, if there was one.
        arithmetic: what training computed in, and why.
    """

    spec: PolicySpec
    info: DemonstrationInfo
    episodes: int
    steps: int
    config: LearningConfig
    command: str
    took: str
    earlier: str = ""
    arithmetic: str = ""

    def render(self) -> str:
        spec = self.spec
        kind = _KINDS[spec.process]
        return f"""# {spec.task}: {kind.name}

A {spec.network.describe()}, that denoises chunks of {spec.horizons.predict} actions from
{spec.horizons.observe} observations; {spec.horizons.execute} of them are executed before it plans again.{kind.sampled}

| | |
| --- | --- |
| task | {spec.task} |
| observation | {_listed(spec.observation)} |
| action | {spec.action_convention}: {_listed(spec.action)} |
| control rate | {spec.control_hz} Hz |
| controller | {_listed(spec.controller)} |
| noise schedule | {describe_schedule(spec.schedule)} |

## Data
{counted(self.episodes, "episode")} ({counted(self.steps, "control step")}){self._told_by()}.
{_listed(self.info.made_with)}

## Training
    {self.command}

{_listed(self.config.settings())}

{self.took}
{f"Computed in {self.arithmetic}." if self.arithmetic else ""}

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
        how = "Distilled" if self.spec.process == "consistency" else "Started"
        return f"## {how} from an earlier policy\n" + making.replace("## ", "### ")


def describe_schedule(schedule: Mapping[str, Any]) -> str:
    """Noise, number of timesteps and what is predicted, in a few words."""
    noise = schedule.get("beta_schedule", "straight lines")
    predicts = schedule.get("prediction_type", "velocity")
    return f"{noise}, {schedule['num_train_timesteps']} steps, {predicts}"


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())
