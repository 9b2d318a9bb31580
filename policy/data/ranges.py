"""Remarks on quantities whose dimensions share a scale, but have very different ranges."""

from collections.abc import Iterator, Mapping

import numpy as np

# A quantity that varies by less than this over the whole data set is treated as constant.
CONSTANT_RANGE = 1e-4
# A smaller range than this share of the widest one is remarked on.
_SHARE = 0.1
_NAMED = 3  # this many dimensions are named


def range_remarks(vectors: Mapping[str, np.ndarray], actions: np.ndarray, parts: Mapping[str, int]) -> Iterator[str]:
    """Yields a sentence for each quantity whose dimensions may be several quantities, because their ranges differ tenfold.

    Args:
        vectors: the observed quantities by name, `[steps, n]`.
        actions: the actions, `[steps, A]`.
        parts: names and lengths of their quantities, in order.
    """
    for name, values in vectors.items():
        yield from _remark(name, values, f"observation: {{{name}: {{joints: 6, gripper: 1}}}}")
    ends = np.cumsum(list(parts.values()))[:-1]
    for name, values in zip(parts, np.split(actions, ends, axis=-1), strict=True):
        yield from _remark(name, values, "action: {joints: 6, gripper: 1}")


def _remark(name: str, values: np.ndarray, split: str) -> Iterator[str]:
    ranges = np.ptp(values, axis=0) if len(values) else np.zeros(values.shape[1])
    widest = int(ranges.argmax())
    narrow = np.flatnonzero((ranges >= CONSTANT_RANGE) & (ranges < _SHARE * ranges[widest]))
    if not len(narrow):
        return
    named = ", ".join(f"{ranges[i]:.3g} in dimension {i}" for i in narrow[:_NAMED])
    more = f" and {len(narrow) - _NAMED} more" if len(narrow) > _NAMED else ""
    yield (
        f"{name}: its {len(ranges)} dimensions share one scale, and their ranges differ more than tenfold: {named}{more},"
        f" {ranges[widest]:.3g} in dimension {widest}. That is right for a position or a rotation. A vector of several"
        f" quantities should be split in paradp.yaml beside the recorded data, such as {split}"
    )
