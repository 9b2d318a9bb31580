"""Shared memory that passes the images of plan requests to the planning process without pickling.

The memory is a mapped file without a name (`multiprocessing.RawArray`): the system frees it when the last of its processes
has ended, also if they are killed, and it does not depend on the size of /dev/shm.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from paradp.policy.processes import spawning
from paradp.policy.requests import PlanRequest
from paradp.policy.spec import Interface

# Largest number of requests at a time: one being planned, one waiting, and cancelled ones that are still in the queue.
SLOTS = 4


@dataclass(frozen=True)
class Handed:
    """A request in the form in which it is sent to the planning process.

    Attributes:
        request: the request; without its images if they are in shared memory.
        slot: the slot with its images; `None` if they are in the request itself.
    """

    request: PlanRequest
    slot: int | None = None


class SharedFrames:
    """A ring of slots in shared memory, each for the images of one request.

    The planning process gets this object as an argument at its start, and only reads; only the creator writes.

    Args:
        spec: the policy's specification.
    """

    def __init__(self, spec: Interface):
        self._shapes = {
            key: (spec.horizons.observe, *feature.shape) for key, feature in spec.observed.items() if feature.kind == "image"
        }
        self._order = tuple(spec.observed)
        self._size = sum(int(np.prod(shape)) for shape in self._shapes.values())
        self._memory: Any = spawning().RawArray("B", SLOTS * self._size) if self._shapes else None
        self._free = deque(range(SLOTS))

    def hand(self, request: PlanRequest) -> Handed:
        """Puts the images of a request into a free slot; `free` the slot when the plan has been made.

        A request is sent unchanged if it has no images or all slots are in use, and also if its images differ from the
        policy's: then the planning process refuses it.
        """
        history = request.history
        if self._memory is None or not self._fits(history):
            return Handed(request)
        try:
            slot = self._free.popleft()
        except IndexError:
            return Handed(request)
        for key, view in self._views(slot).items():
            view[...] = history[key]
        rest = {key: part for key, part in history.items() if key not in self._shapes}
        return Handed(replace(request, history=rest), slot)

    def free(self, handed: Handed) -> None:
        """Frees a request's slot."""
        if handed.slot is not None:
            self._free.append(handed.slot)

    def take(self, handed: Handed) -> PlanRequest:
        """Returns the complete request with its images, for the planning process."""
        if handed.slot is None:
            return handed.request
        whole = {**handed.request.history, **self._views(handed.slot)}
        return replace(handed.request, history={key: whole[key] for key in self._order})

    def _fits(self, history: Mapping[str, Any]) -> bool:
        found = {key: getattr(history.get(key), "shape", None) for key in self._shapes}
        same = {getattr(history.get(key), "dtype", None) for key in self._shapes} == {np.dtype(np.uint8)}
        return same and found == self._shapes and set(history) == set(self._order)

    def _views(self, slot: int) -> dict[str, np.ndarray]:
        values = np.frombuffer(self._memory, np.uint8, self._size, slot * self._size)
        ends = np.cumsum([np.prod(shape) for shape in self._shapes.values()])[:-1]
        parts = np.split(values, ends)
        return {key: part.reshape(shape) for (key, shape), part in zip(self._shapes.items(), parts, strict=True)}
