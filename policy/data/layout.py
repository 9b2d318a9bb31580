"""The format of demonstrations in a zarr 3 group, and its checks.

    data/obs/<key>      float32 [steps, size], for each observed vector
    data/obs/<key>      uint8 [steps, height, width, channels], for each image
    data/action         float32 [steps, A], the actions to learn
    data/executed       float32 [steps, A], the actions that the robot executed
    meta/episode_ends   int64 [episodes], cumulative steps
    meta/seeds          int64 [episodes]

The attributes contain the task, the action convention and the controller. `episode_ends` is written last, so that the rest
of an interrupted append is cut off when the group is opened the next time.

Keys are the environment's names of observations; characters that are unsafe in file names are percent-encoded. In the first
version of this format observations were stored beside the actions, as `data/<key>`; such groups can be read and continued.
"""

from collections.abc import Mapping
from dataclasses import asdict
from math import prod
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
from pydantic import TypeAdapter, ValidationError

from paradp.policy.data.episode import DemonstrationInfo
from paradp.policy.features import observed_features
from paradp.policy.files.formats import check_newest
from paradp.policy.files.limits import CHUNK_STEPS, MOST_EPISODES
from paradp.policy.files.reading import first_problem
from paradp.policy.files.zarr_store import StoredArray

if TYPE_CHECKING:
    import zarr

NEWEST = 2
ENDS, SEEDS, ACTIONS, EXECUTED = "meta/episode_ends", "meta/seeds", "data/action", "data/executed"
_LAYOUT = "layout"
_CHUNK_NUMBERS = 2**21  # chunk size of images: about a hundred of 84 × 84 pixels, which are read and written together
# A shape and a dtype.
Row = tuple[tuple[int, ...], str]
_INFO = TypeAdapter(DemonstrationInfo)


class Layout:
    """The arrays of a group of demonstrations.

    Attributes:
        version: version of the format, 1 or 2; a group may claim others.
        info: description of the demonstrations.
        rows: path of each array with one row per control step → shape of a row and dtype.
    """

    def __init__(self, version: Any, info: DemonstrationInfo):
        self.version = version
        self.info = info
        action = sum(info.action.values())
        observed = observed_features(info.observation)
        observations = {self.place(key): (feature.shape, feature.dtype.name) for key, feature in observed.items()}
        self.rows: dict[str, Row] = observations | {name: ((action,), "float32") for name in (ACTIONS, EXECUTED)}

    @classmethod
    def of(cls, group: "zarr.Group") -> "Layout":
        """Reads the layout from a group's attributes.

        Raises:
            ValueError: they do not describe demonstrations.
        """
        try:
            info = _INFO.validate_python({key: group.attrs.get(key) for key in DemonstrationInfo.__dataclass_fields__})
        except ValidationError as error:
            raise ValueError(first_problem(error)) from error
        return cls(group.attrs.get(_LAYOUT, 1), info)

    def attributes(self) -> dict[str, Any]:
        """The attributes of a group."""
        return {**asdict(self.info), _LAYOUT: self.version}

    def arrays(self) -> dict[str, Row]:
        """For each array the shape of a chunk and the dtype."""
        numbers: dict[str, Row] = {
            name: ((min(CHUNK_STEPS, max(1, _CHUNK_NUMBERS // prod(row))), *row), dtype)
            for name, (row, dtype) in self.rows.items()
        }
        return numbers | {name: ((CHUNK_STEPS,), "int64") for name in (ENDS, SEEDS)}

    def place(self, key: str) -> str:
        """The path of an observation."""
        return f"data/{key}" if self.version == 1 else f"data/obs/{quote(key, safe='').replace('.', '%2E')}"

    def dtype(self, key: str) -> str:
        """The dtype of an observation."""
        return self.rows[self.place(key)][1]

    def check(self, arrays: Mapping[str, StoredArray]) -> None:
        """Checks the declared shapes and types of a group's arrays, without decoding them.

        Raises:
            ValueError: an array is missing, or does not match the attributes.
        """
        if self.version not in (1, NEWEST):
            if type(self.version) is int:
                check_newest("they have the layout", self.version, NEWEST)
            raise ValueError(f"there is no layout {self.version!r:.40}")
        hidden = {"action", "executed"} & self.info.observation.keys()
        if self.version == 1 and hidden:
            raise ValueError(f"the observation {min(hidden)!r} took the place of the actions; import or collect them again")
        for name, (row, dtype) in self.rows.items():
            _check_kind(arrays, name, dtype, row)
        for name in (ENDS, SEEDS):
            _check_kind(arrays, name, "int64", ())
        if (episodes := arrays[ENDS].shape[0]) > MOST_EPISODES:
            raise ValueError(f"they claim {episodes} episodes; at most {MOST_EPISODES} are read")

    def check_whole(self, arrays: Mapping[str, StoredArray], ends: np.ndarray) -> None:
        """Checks that all steps of the episodes with these ends are stored.

        Raises:
            ValueError: the ends do not increase, or an array is too short for them or lacks a chunk.
        """
        # Compared, not subtracted: a difference of 64-bit numbers can wrap around.
        if len(ends) and (ends[0] <= 0 or (ends[1:] <= ends[:-1]).any()):
            raise ValueError("they are damaged: the ends of the episodes do not increase")
        steps = int(ends[-1]) if len(ends) else 0
        needed = dict.fromkeys(self.rows, steps) | {name: len(ends) for name in (ENDS, SEEDS)}
        if short := [name for name, rows in needed.items() if arrays[name].shape[0] < rows]:
            raise ValueError(f"they are damaged: {', '.join(short)} end before the last episode does")
        # The first version left out chunks of zeros.
        if self.version > 1 and (lost := [name for name, rows in needed.items() if arrays[name].lacks(rows)]):
            raise ValueError(f"they are damaged: chunks of {', '.join(lost)} are missing")


def _check_kind(arrays: Mapping[str, StoredArray], name: str, dtype: str, row: tuple[int, ...]) -> None:
    if name not in arrays:
        raise ValueError(f"the array {name} is missing")
    found = arrays[name]
    if (found.dtype, found.shape[1:]) != (dtype, row):
        raise ValueError(f"the array {name} holds {found.dtype} {found.shape[1:]} a step, not {dtype} {row}")
