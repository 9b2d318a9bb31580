"""Model cards: a checkpoint's training data, training settings and results."""

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
    """A card's name for a kind of policy, and its advice on samplers."""

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
# Text of a card until rollouts of these weights are released with it.
UNMEASURED = "Not measured yet."
MEASURED = "## Measured success"
_QUOTED = 4000  # characters of a card without sections on data and training


@dataclass(frozen=True)
class Trained:
    """One training in a card.

    Attributes:
        episodes, control_steps: size of the demonstrations.
        steps, batch_size: of the optimiser.
        took: duration and hardware; empty if not recorded.
    """

    episodes: int
    control_steps: int
    steps: int
    batch_size: int
    took: str

    def describe(self) -> str:
        """A short description."""
        return f"{counted(self.steps, 'step')} of batch {self.batch_size}, {self.took or 'time not recorded'}"


def read_trainings(checkpoint: Path) -> list[Trained]:
    """Reads the trainings from a checkpoint's card: the last one first, then those that it started from.

    Raises:
        ValueError: the card was not written by paradp.
    """
    card = read_text(checkpoint / "README.md", CARD_BYTES)
    sections = re.split(r"^#+ Data$", card, flags=re.MULTILINE)[1:]
    trainings = [trained for section in sections if (trained := _trained(section))]
    if not sections or len(trainings) < len(sections):
        raise ValueError(f"{checkpoint / 'README.md'} does not list the policy's training data")
    return trainings


def _trained(section: str) -> Trained | None:
    """Reads a training from the text after a heading `Data`; `None` if the text has another form."""
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
    """The contents of a model card; `render` writes them as markdown.

    Attributes:
        spec: specification of the policy.
        info: description of its demonstrations.
        episodes, steps: number of demonstrations.
        config: settings of the training.
        command: the command that trained it.
        took: duration and hardware of the training.
        earlier: card of the policy that the training started from or distilled, if any.
        arithmetic: number format of the training, and the reason for it.
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
        more = kind.sampled + self._seen()
        return f"""# {spec.task}: {kind.name}

A {spec.network.describe()}, that denoises chunks of {spec.horizons.predict} actions from
{spec.horizons.observe} observations; {executed(spec)}.{more}

{_table(spec)}

## Data
{counted(self.episodes, "episode")} ({counted(self.steps, "control step")}){self._origin()}.
{_listed(self.info.made_with)}

## Training
    {self.command}

{_listed(self.config.settings())}

{self.took}
{f"Computed in {self.arithmetic}." if self.arithmetic else ""}

{self._started_from()}{MEASURED}
{UNMEASURED}
"""

    def _seen(self) -> str:
        """How images are encoded."""
        vision = self.spec.vision
        if vision is None:
            return ""
        crop = "" if vision.crop is None else f", in crops of {vision.crop[0]} × {vision.crop[1]} pixels"
        return f"\n\nImages are encoded by a {vision.describe()}{crop}."

    def _origin(self) -> str:
        """The origin of the demonstrations."""
        return " of a scripted expert in simulation, not of people" if "expert" in self.info.made_with else ""

    def _started_from(self) -> str:
        """Data and training of the earlier policy, one heading level lower."""
        if not self.earlier:
            return ""
        how = "Distilled" if self.spec.process == "consistency" else "Started"
        return f"## {how} from an earlier policy\n" + _making(self.earlier)


def _making(card: str) -> str:
    """The sections on data and training of a card, one heading level lower.

    If it has none, as that of a converted policy, its first lines are quoted: so `read_trainings` finds no training there.
    """
    text = card.partition(MEASURED)[0]
    _, heading, making = text.partition("\n## Data\n")
    if _trained(making):
        return (heading.lstrip() + making).replace("## ", "### ")
    return "\n".join(f"> {line}".rstrip() for line in text[:_QUOTED].strip().splitlines()) + "\n\n"


def executed(spec: PolicySpec) -> str:
    """The words of a card on the number of executed actions."""
    return f"{spec.horizons.execute} of them are executed before it plans again"


def converted_card(spec: PolicySpec, source: str) -> str:
    """The card of a policy that another program trained, with the available information.

    Args:
        spec: specification of the policy.
        source: where it comes from.
    """
    return f"""# {spec.task}: {_KINDS[spec.process].name}

A {spec.network.describe()}, that denoises chunks of {spec.horizons.predict} actions from
{spec.horizons.observe} observations; {executed(spec)}.

{_table(spec)}

Converted from {source} by `paradp convert`; another program trained it.

{MEASURED}
{UNMEASURED}
"""


def _table(spec: PolicySpec) -> str:
    return f"""| | |
| --- | --- |
| task | {spec.task} |
| observation | {_listed(spec.observation)} |
| action | {spec.action_convention}: {_listed(spec.action)} |
| control rate | {spec.control_hz} Hz |
| controller | {_listed(spec.controller)} |
| noise schedule | {describe_schedule(spec.schedule)} |"""


def describe_schedule(schedule: Mapping[str, Any]) -> str:
    """Noise schedule, number of timesteps and prediction type, in a few words."""
    noise = schedule.get("beta_schedule", "straight lines")
    predicts = schedule.get("prediction_type", "velocity")
    return f"{noise}, {schedule['num_train_timesteps']} steps, {predicts}"


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())
