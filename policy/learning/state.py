"""The state of a training, in memory and on disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor

from paradp.policy.files.limits import STATE_BYTES
from paradp.policy.files.reading import first_problem, parse_json
from paradp.policy.files.tensor_writing import write_tensors
from paradp.policy.files.tensors import TensorFile
from paradp.policy.learning.arithmetic import Arithmetic
from paradp.policy.learning.ema import EMA
from paradp.policy.learning.optimiser import OptimiserSettings
from paradp.policy.networks.conditional import ConditionalNetwork


@dataclass
class RunningMean:
    """A running mean of numbers, which can be stored and continued with the same result."""

    total: float = 0.0
    count: Annotated[int, Field(ge=0)] = 0

    def add(self, value: float) -> None:
        self.total += value
        self.count += 1

    def take(self) -> float:
        """Returns the mean so far, and starts the next one."""
        mean = self.total / self.count
        self.total, self.count = 0.0, 0
        return mean


class TrainingState:
    """Everything that changes from step to step.

    Attributes:
        network: the network that is trained.
        ema: its running average.
        optimiser: the optimiser of its weights.
        step: number of steps taken.
        losses: losses of the steps since the last line of the log.
    """

    def __init__(self, network: ConditionalNetwork, settings: OptimiserSettings):
        self.network = network.train().requires_grad_()
        self.ema = EMA(network)
        self.step = 0
        self.losses = RunningMean()
        self._settings = settings
        self.optimiser = torch.optim.AdamW(
            network.parameters(),
            settings.learning_rate,
            betas=(0.95, 0.999),
            weight_decay=settings.weight_decay,
            fused=True,
        )

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return self._settings.learning_rate_of(self.step)

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return next(self.network.parameters()).device

    def tensors(self) -> dict[str, Tensor]:
        """All tensors that a later process needs to continue; `step` and `losses` are stored separately."""
        tensors = {f"network.{name}": p.data for name, p in self.network.named_parameters()}
        tensors |= {f"ema.{name}": p.data for name, p in self.ema.network.named_parameters()}
        for i, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{i}.{key}": value for key, value in state.items()}
        return tensors

    def create_moments(self) -> None:
        """Makes AdamW create its moments, which it does at its first step: an uncounted one with zero gradients and rate."""
        for group in self.optimiser.param_groups:
            group["lr"] = 0.0
        for parameter in self.network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        self.optimiser.step()
        for moments in self.optimiser.state.values():
            moments["step"].zero_()


@dataclass(frozen=True)
class Noted:
    """The description of a training in its state on disk.

    Attributes:
        identity: its settings, data and initial policy, see `paradp.policy.learning.identity`.
        arithmetic: its number format.
        step, losses: as in `TrainingState`.
    """

    identity: dict[str, Any]
    arithmetic: Arithmetic
    step: Annotated[int, Field(ge=0)]
    losses: RunningMean


_NOTED = TypeAdapter(Noted)


STATE = "state.safetensors"


class StateFile:
    """`state.safetensors` of a training.

    Args:
        path: the file, which need not exist.
    """

    def __init__(self, path: Path):
        self.path = path

    def noted(self) -> Noted | None:
        """Reads the description of the training; `None` if there is no file.

        Raises:
            ValueError: it is damaged, or of an earlier version of paradp.
        """
        if not self.path.exists():
            return None
        return self._noted(self._open())

    def load(self, state: TrainingState) -> None:
        """Loads the file into a state.

        Raises:
            ValueError: the file is damaged, or belongs to another network.
        """
        file = self._open()
        noted = self._noted(file)
        state.create_moments()
        try:
            file.fill(state.tensors())
        except ValueError as error:
            raise ValueError(f"{self.path} is damaged: {error}; {self._remove}") from error
        state.step, state.losses = noted.step, noted.losses

    def save(self, state: TrainingState, identity: dict[str, Any], arithmetic: Arithmetic) -> None:
        """Writes a state; the old file stays until the new one is complete.

        Raises:
            OSError: it cannot be written, for example on a full disk; the old one is kept.
        """
        noted = Noted(identity, arithmetic, state.step, state.losses)
        write_tensors(self.path, state.tensors(), {"training": _NOTED.dump_json(noted).decode()})

    def _open(self) -> TensorFile:
        try:
            return TensorFile.open(self.path, STATE_BYTES)
        except (ValueError, OSError) as error:
            raise ValueError(f"{self.path} is damaged: {error}; {self._remove}") from error

    def _noted(self, file: TensorFile) -> Noted:
        metadata = file.metadata
        if "training" not in metadata and "identity" in metadata:
            raise ValueError(
                f"{self.path} was written by an earlier version of paradp, which did not note the content of its data, so"
                " that the data cannot be compared; choose another --out"
            )
        if "training" not in metadata:
            raise ValueError(f"{self.path} is damaged: it does not describe its training; {self._remove}")
        try:
            return _NOTED.validate_python(parse_json(metadata["training"]))
        except ValidationError as error:
            raise ValueError(f"{self.path} is damaged: {first_problem(error)}; {self._remove}") from error
        except ValueError as error:
            raise ValueError(f"{self.path} is damaged: {error}; {self._remove}") from error

    @property
    def _remove(self) -> str:
        return "remove it to train from the start, or choose another --out"
