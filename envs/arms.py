"""Action conventions for several arms, composed of one convention for each hand."""

from collections.abc import Mapping, Sequence

import numpy as np

from paradp.envs.actions import HAND_CONVENTIONS, AbsoluteAction, BoundedAction, DeltaAction, HandConvention, RobotConvention


class ArmsAction(BoundedAction):
    """The actions of several arms, concatenated.

    Args:
        name: the name of this convention.
        hands: the convention of each arm, all of the same class but with different prefixes.
    """

    unit = "m"

    def __init__(self, name: str, hands: Sequence[HandConvention]):
        self.name, self.hands = name, tuple(hands)
        self.parts = {part: length for hand in hands for part, length in hand.parts.items()}
        self.units = {part: unit for hand in hands for part, unit in hand.units.items()}
        self.low, self.high = (np.concatenate([getattr(hand, limit) for hand in hands]) for limit in ("low", "high"))
        self._ends = np.cumsum([len(hand.low) for hand in hands])[:-1].tolist()

    def controller_options(self) -> dict[str, object]:
        return self.hands[0].controller_options()

    def to_robosuite(self, action: np.ndarray) -> np.ndarray:
        return np.concatenate([hand.to_robosuite(own) for hand, own in zip(self.hands, self._split(action), strict=True)])

    def hold(self, last: np.ndarray | None, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        each = [None] * len(self.hands) if last is None else self._split(last)
        return np.concatenate([hand.hold(own, observation) for hand, own in zip(self.hands, each, strict=True)])

    def path(self, actions: np.ndarray) -> np.ndarray:
        each = zip(self.hands, self._split(actions), strict=True)
        return np.concatenate([hand.path(own) for hand, own in each], axis=-1)

    def _split(self, actions: np.ndarray) -> list[np.ndarray]:
        return np.split(actions, self._ends, axis=-1)


TWO_ARM_CONVENTIONS: dict[str, RobotConvention] = {
    f"two-arm-{kind.name}": ArmsAction(f"two-arm-{kind.name}", [kind("robot0_"), kind("robot1_")])
    for kind in (AbsoluteAction, DeltaAction)
}
ROBOT_CONVENTIONS: dict[str, RobotConvention] = {**HAND_CONVENTIONS, **TWO_ARM_CONVENTIONS}
