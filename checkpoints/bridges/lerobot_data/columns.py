"""Maps paradp's observations and actions to LeRobot's features.

LeRobot's policies have one vector of the robot, `observation.state`, one of its surroundings,
`observation.environment_state`, images and an action. In paradp each quantity has its own name: those vectors are
concatenations of our quantities.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np

from paradp.bridges.lerobot_data.layout import ACTION, COUNTERS, ENVIRONMENT, IMAGES, STATE
from paradp.policy.features import Shape

# Prefixes of the names of quantities that belong to the robot's state.
OF_ROBOTS = ("robot", "agent", "eef", "ee_", "tcp", "gripper", "joint", "qpos", "hand", "arm", "proprio", "state")


@dataclass(frozen=True)
class Columns:
    """The contents of a data set's features.

    Attributes:
        vectors: LeRobot's key → our quantities in it with their lengths, in order; also for the action.
        images: LeRobot's key → our name.
        shapes: height, width and channels, by LeRobot's key.
    """

    vectors: dict[str, dict[str, int]]
    images: dict[str, str]
    shapes: dict[str, tuple[int, int, int]]

    @classmethod
    def of(cls, observation: Mapping[str, Shape], action: Mapping[str, int], state: Collection[str] = ()) -> "Columns":
        """Assigns our quantities to LeRobot's features.

        Args:
            observation: our observation, key → shape.
            action: the parts of an action.
            state: keys of the robot's state; by default those with a prefix of `OF_ROBOTS`.

        Raises:
            ValueError: no key belongs to the robot's state, or a given key is not observed or is an image.
        """
        sizes = {key: shape for key, shape in observation.items() if isinstance(shape, int)}
        images = {IMAGES + quote(key, safe=""): key for key in observation if key not in sizes}
        if unknown := [key for key in state if key not in sizes]:
            raise ValueError(f"{unknown[0]!r:.80} is not an observed vector; there are {', '.join(sizes) or 'none'}")
        own = [key for key in sizes if (key in state if state else key.startswith(OF_ROBOTS))]
        if not own:
            raise ValueError(
                "LeRobot's policies need a state of the robot: name the observations that belong to it; there are "
                + (", ".join(sizes) or "images alone")
            )
        vectors = {STATE: {key: sizes[key] for key in own}}
        if others := {key: size for key, size in sizes.items() if key not in own}:
            vectors[ENVIRONMENT] = others
        shapes = {theirs: _image_shape(observation[ours]) for theirs, ours in images.items()}
        return cls({**vectors, ACTION: dict(action)}, images, shapes)

    def features(self) -> dict[str, dict[str, Any]]:
        """Returns the features as `info.json` describes them."""
        found: dict[str, dict[str, Any]] = {}
        for key, parts in self.vectors.items():
            found[key] = {"dtype": "float32", "shape": [sum(parts.values())], "names": _dimensions(parts)}
        for key, shape in self.shapes.items():
            found[key] = {"dtype": "image", "shape": list(shape), "names": ["height", "width", "channels"]}
        return found | {key: {"dtype": dtype, "shape": [1], "names": None} for key, dtype in COUNTERS.items()}

    def observed(self) -> dict[str, str | dict[str, int]]:
        """Returns the contents of the observed features in the form of `paradp.yaml`."""
        return {key: dict(parts) for key, parts in self.vectors.items() if key != ACTION} | self.images

    def side_by_side(self, key: str, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """Concatenates the vectors of a feature: `[steps, n]`."""
        return np.concatenate([arrays[part] for part in self.vectors[key]], axis=-1)


def _dimensions(parts: Mapping[str, int]) -> list[str]:
    """Names every number of a vector: the quantity's name, and the index within it."""
    return [f"{name}.{i}" if size > 1 else name for name, size in parts.items() for i in range(size)]


def _image_shape(shape: Shape) -> tuple[int, int, int]:
    assert not isinstance(shape, int)  # vectors were handled above
    return shape
