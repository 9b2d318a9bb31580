"""Reads policies of LeRobot, Diffusion Policy and robomimic without importing these, and samples them with our solvers."""

from typing import TYPE_CHECKING

from paradp.sampler.lazy import lazy_exports

if TYPE_CHECKING:
    from paradp.bridges.fact_fields import Facts, Given
    from paradp.bridges.in_place import parallelize, sampling_of, undo
    from paradp.bridges.lerobot import read_lerobot
    from paradp.bridges.single_file import read_diffusion_policy
else:
    __getattr__, __dir__, __all__ = lazy_exports(
        __name__,
        {
            "fact_fields": "Facts Given",
            "in_place": "parallelize sampling_of undo",
            "lerobot": "read_lerobot",
            "single_file": "read_diffusion_policy",
        },
    )
