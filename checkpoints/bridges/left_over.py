"""Real-time chunking in LeRobot's terms: what is left of the last chunk, as the known part of the next one."""

import torch
from torch import Tensor

from paradp.policy.control.blending import soft_mask


def from_left_over(left_over: Tensor, delay: int, shape: tuple[int, int, int], past: int) -> tuple[Tensor, Tensor]:
    """The known part of the next chunk, and how much it counts at each step.

    The actions that will be executed before the next chunk is there are kept; those after them count less and less, see
    `soft_mask`. Predicted steps that lie in the past are free.

    Args:
        left_over: the actions that are left, `[T, A]` or `[B, T, A]`, in the network's units. LeRobot fills up short ones
            with zeros, which are no actions: zeros at the end are left out.
        delay: how many of them will be executed before the next chunk is there.
        shape: B, H, A.
        past: To − 1.

    Returns:
        Known chunks `[B, H, A]` and weights `[B, H]`, for `Inpainting`.

    Raises:
        ValueError: the actions have another length than the policy's.
    """
    rows, horizon, size = shape
    if left_over.ndim not in (2, 3) or left_over.shape[-1] != size:
        raise ValueError(f"prev_chunk_left_over has shape {list(left_over.shape)}, an action of the policy {size} numbers")
    actions = left_over.float() if left_over.ndim == 3 else left_over.float()[None]
    there = (actions != 0).any(2).any(0).nonzero()
    left = min(int(there.max()) + 1 if len(there) else 0, horizon - past)
    known = torch.zeros(shape, device=actions.device)
    known[:, past : past + left] = actions[:, :left]
    weight = torch.from_numpy(soft_mask(horizon, past, delay, left)).to(actions.device)
    weight[:past] = 0.0
    return known, weight.expand(rows, horizon)
