"""How a new chunk takes over from the one in execution.

| blending | |
| --- | --- |
| `replace` | the new chunk takes over at once |
| `blend` | over the actions that both chunks have, the weight of the old chunk falls linearly to 0 |
| `inpaint` | sampling fixes the actions that will be executed before the chunk arrives, and pulls later ones to them |

`paradp.policy.inpainting` samples the chunks of `inpaint`.
"""

from collections.abc import Collection

import numpy as np


def blended(old: Collection[np.ndarray], new: np.ndarray) -> np.ndarray:
    """The new actions `[K, A]`; over the remaining old ones, the weight of the old falls linearly to 0."""
    both = min(len(old), len(new))
    if not both:
        return new
    weight = 1 - np.arange(1, both + 1, dtype=new.dtype)[:, None] / (both + 1)
    mixed = new.copy()
    mixed[:both] = weight * np.stack(list(old)[:both]) + (1 - weight) * new[:both]
    return mixed


def soft_mask(horizon: int, past: int, late: int, left: int) -> np.ndarray:
    """The weight of the old chunk at each step of the new one, `[H]` from 1 to 0 (soft masking, Black et al.
    2025, arXiv 2506.07339).

    Args:
        horizon: H.
        past: To − 1, the predicted steps that lie in the past; their weight is 1.
        late: actions that will be executed before the new chunk arrives; their weight is 1.
        left: actions left in the old chunk; after them the weight is 0.
    """
    step = np.arange(horizon) - past
    late = min(late, left)  # what the old chunk no longer has cannot be executed either
    c = ((left - step) / (left - late + 1)).clip(0, 1)
    weight = c * np.expm1(c) / np.expm1(1.0)
    return np.where(step < late, 1.0, np.where(step < left, weight, 0.0)).astype(np.float32)
