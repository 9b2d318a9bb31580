"""LeRobot's real-time chunking: the unexecuted rest of the last chunk becomes the known part of the next one."""

import torch
from torch import Tensor

from paradp.policy.control.blending import soft_mask


def from_left_over(left_over: Tensor, delay: int, shape: tuple[int, int, int], past: int) -> tuple[Tensor, Tensor]:
    """Returns the known part of the next chunk and its weight at each step.

    Actions that will be executed before the next chunk arrives have full weight, later ones less and less, see
    `soft_mask`. Predicted steps in the past have weight 0.

    Args:
        left_over: the unexecuted actions, `[T, A]` or `[B, T, A]`, in the network's units. LeRobot pads them with zeros at
            the end; these are ignored.
        delay: number of them that will be executed before the next chunk arrives.
        shape: B, H, A.
        past: To − 1.

    Returns:
        Known chunks `[B, H, A]` and weights `[B, H]`, for `Inpainting`.

    Raises:
        ValueError: the length of an action differs from the policy's.
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
