"""PushT. Its expert repeats two phases: move the disc around the T to the start of the best push, and push."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from paradp.envs.actions import PlaneAction
from paradp.envs.experts.expert import ActionNoise, Expert, ExpertCommand
from paradp.envs.lookup import renamed_argument
from paradp.envs.pusht_task import PushTTask
from paradp.envs.task import TaskEntry

if TYPE_CHECKING:
    from paradp.envs.experts.push_planner import BlockPose, StraightPush

# Unit of the noise (px): the distance from the disc to its goal while it travels.
UNIT_PX = 40.0
# Distances at which the disc has reached a corner of its path, and the end.
PASSED_PX, ARRIVED_PX = 14.0, 3.0
# A path of this length (px) costs as much as the whole remaining error.
FAR_PX = 1500.0

Observation = Mapping[str, np.ndarray]
Script = Generator[np.ndarray, Observation, Observation]


@dataclass(frozen=True)
class PushVariety:
    """The random variation between demonstrations.

    Attributes:
        speed: range of a push's speed, px per control step.
        whim: spread of the random preference between pushes, as a share of the best one's gain.
        ring: range of the disc's distance from the T's centre on its way around it (px).
        reach: range of the distance from the disc to its goal while it travels (px).
        pause_chance: probability of a pause before a push, for 1 to `pause_steps` control steps.
        tremor: standard deviation of the disc's slow tremor (px).
    """

    speed: tuple[float, float] = (6.0, 12.0)
    whim: float = 0.15
    ring: tuple[float, float] = (95.0, 130.0)
    reach: tuple[float, float] = (25.0, UNIT_PX)
    pause_chance: float = 0.1
    pause_steps: int = 2
    tremor: float = 0.5


@renamed_argument("disturbance", "action_noise")
class PushTExpert(Expert):
    """Moves the disc, using only the observation, of either kind.

    Args:
        action_convention: `"position"`.
        action_noise: noise added to the executed action; none by default.
        variety: how demonstrations differ; `None` for always the best push.
    """

    def __init__(
        self,
        action_convention: str = PlaneAction.name,
        action_noise: ActionNoise | None = None,
        variety: PushVariety | None = PushVariety(),
    ):
        from paradp.envs.experts.push_planner import PushPlanner  # imports the simulator

        self._variety = variety or PushVariety((9.0, 9.0), 0.0, (110.0, 110.0), (UNIT_PX, UNIT_PX), 0.0, 1, 0.0)
        self._planner = PushPlanner()
        super().__init__(2, self._variety.tremor, action_noise)

    def reset(self, seed: int | None = None) -> None:
        super().reset(seed)
        self._running: Script | None = None

    def act(self, observation: Observation) -> ExpertCommand:
        if self._running is None:
            self._running = self._script(observation)
            goal = next(self._running)
        else:
            goal = self._running.send(observation)
        label = goal + self.draw_tremor()
        return ExpertCommand(_on_board(label + UNIT_PX * self.draw_action_noise()), _on_board(label))

    def _script(self, seen: Observation) -> Script:
        while True:
            speed = self.rng.uniform(*self._variety.speed)
            push, way = self._choose(self._planner.seen(seen), _agent(seen), speed)
            seen = yield from self._go(seen, way)
            if self.rng.random() < self._variety.pause_chance:
                for _ in range(self.rng.integers(1, self._variety.pause_steps + 1)):
                    seen = yield push.start
            for step in range(1, push.steps + 1):
                seen = yield push.goal(step)

    def _choose(self, pose: "BlockPose", agent: np.ndarray, speed: float) -> "tuple[StraightPush, list[np.ndarray]]":
        """Chooses the best push whose start can be reached, and the path to it."""
        pushes, now = self._planner.pushes(pose, speed), self._planner.error(pose)
        # Close to the goal a slow push is more precise.
        if now < 4 * speed:
            pushes += self._planner.pushes(pose, max(2.0, now / 4))
        costs = np.array([push.error + now * np.linalg.norm(push.start - agent) / FAR_PX for push in pushes])
        whim = self._variety.whim * max(now - costs.min(), 0.1)
        best = np.argsort(costs + whim * self.rng.standard_normal(len(costs)))
        for push in (pushes[int(i)] for i in best):
            if way := self._way(pose, agent, push.start):
                return push, way
        return pushes[int(best[0])], [pushes[int(best[0])].start]

    def _go(self, seen: Observation, way: list[np.ndarray]) -> Script:
        """Moves along the corners of a path."""
        reach = self.rng.uniform(*self._variety.reach)
        for place in way:
            near = ARRIVED_PX if place is way[-1] else PASSED_PX
            for _ in range(40):
                offset = place - _agent(seen)
                if (distance := float(np.linalg.norm(offset))) < near:
                    break
                seen = yield _agent(seen) + offset * min(1.0, reach / distance)
        return seen

    def _way(self, pose: "BlockPose", agent: np.ndarray, there: np.ndarray) -> list[np.ndarray]:
        """The corners of a path over a ring of points around the T; none if there is no path."""
        angles = self.rng.uniform(0, 2 * np.pi) + np.linspace(0, 2 * np.pi, 16, endpoint=False)
        ring = self.rng.uniform(*self._variety.ring) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        return self._planner.way(pose, agent, there, ring)


def _agent(seen: Observation) -> np.ndarray:
    return seen["agent_pos"].astype(np.float64)


def _on_board(goal: np.ndarray) -> np.ndarray:
    return goal.clip(PlaneAction.low, PlaneAction.high).astype(np.float32)


PUSHT = TaskEntry(PushTTask(name="pusht", keypoints=True), PushTExpert)
PUSHT_STATE = TaskEntry(PushTTask(name="pusht-state", keypoints=False), PushTExpert)
