"""Receding horizon: from one observation a control step to one action a control step."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from paradp.policy.diffusion_policy import DiffusionPolicy, Observation


@dataclass(frozen=True)
class Replan:
    """What the plan behind a command took, for the one environment.

    Attributes:
        seconds: wall-clock time of the plan, shared with all environments planned together.
        batch: how many environments that were.
        rounds, evaluations, residual, converged: the solver's statistics for this environment.
    """

    seconds: float
    batch: int
    rounds: int
    evaluations: int
    residual: float
    converged: bool


@dataclass(frozen=True)
class Command:
    """An action `[A]` for one control step; `replan` if a new chunk was planned for it."""

    action: np.ndarray
    replan: Replan | None = None


class HasAction(Protocol):
    """What the loop needs of a command."""

    @property
    def action(self) -> np.ndarray: ...


class Controller(Protocol):
    """Drives one robot: a policy over a receding horizon, a scripted expert, a policy on another machine."""

    def reset(self, seed: int | None = None) -> None: ...

    def act(self, observation: Observation) -> HasAction: ...


class RecedingHorizon:
    """Executes Ta actions of each plan, then plans again from the last To observations.

    Args:
        policy: plans the chunks; several controllers may share it.
        seed: of the policy's noise until `reset` gives another.
    """

    def __init__(self, policy: DiffusionPolicy, seed: int = 0):
        self.policy = policy
        self.reset(seed)

    def reset(self, seed: int | None = None) -> None:
        """Forgets the episode. With a seed, its noise is that seed's; without one, the noise goes on."""
        if seed is not None:
            self.generator = torch.Generator().manual_seed(seed)
        self._history: deque[np.ndarray] = deque(maxlen=self.policy.spec.horizons.observe)
        self._chunk: deque[np.ndarray] = deque()
        self._planned: torch.Tensor | None = None

    def act(self, observation: Observation) -> Command:
        """The next action, planning first if the last chunk is used up."""
        return act_together([self], [observation])[0]

    def observe(self, observation: Observation) -> None:
        """Takes in the observation of a control step; the first of an episode also stands for those before it."""
        vector = self.policy.read(observation)
        self._history.extend([vector] * (1 if self._history else self._history.maxlen))  # type: ignore[operator]

    @property
    def history(self) -> np.ndarray:
        """The observed steps `[To, O]`, oldest first."""
        return np.stack(self._history)

    @property
    def needs_plan(self) -> bool:
        return not self._chunk

    @property
    def guess(self) -> torch.Tensor:
        """What the last plan says of the time that the next one is for, its end held, `[H, A]`; zeros without a plan."""
        horizons = self.policy.spec.horizons
        if self._planned is None:
            return torch.zeros(horizons.predict, self.policy.spec.action_size, device=self.policy.device)
        later = (torch.arange(horizons.predict) + horizons.execute).clamp(max=horizons.predict - 1)
        return self._planned[later]

    def take(self, actions: np.ndarray, chunk: torch.Tensor) -> None:
        """Takes actions `[Ta, A]` to execute, and the whole chunk `[H, A]` that they are of."""
        self._chunk.extend(actions)
        self._planned = chunk

    def next_action(self) -> np.ndarray:
        return self._chunk.popleft()


def act_together(controllers: Sequence[RecedingHorizon], observations: Sequence[Observation]) -> list[Command]:
    """One control step of several environments; those whose chunk is used up are planned in one batch.

    Raises:
        ValueError: the controllers do not share one policy.
    """
    if any(c.policy is not controllers[0].policy for c in controllers):
        raise ValueError("controllers that act together must share one policy")
    for controller, observation in zip(controllers, observations, strict=True):
        controller.observe(observation)
    waiting = [c for c in controllers if c.needs_plan]
    replans: dict[int, Replan] = {}
    if waiting:
        plan = waiting[0].policy.plan(
            np.stack([c.history for c in waiting]),
            [c.generator for c in waiting],
            torch.stack([c.guess for c in waiting]),
        )
        for row, controller in enumerate(waiting):
            controller.take(plan.actions[row], plan.chunks[row])
            replans[id(controller)] = Replan(
                seconds=plan.seconds,
                batch=len(waiting),
                rounds=int(plan.stats.rounds[row]),
                evaluations=int(plan.stats.evaluations[row]),
                residual=float(plan.stats.residual[row]),
                converged=bool(plan.stats.converged[row]),
            )
    return [Command(c.next_action(), replans.get(id(c))) for c in controllers]
