"""Pre- and postprocessors: those of LeRobot's diffusion policy, under the name that LeRobot looks for."""

from typing import Any

from lerobot.policies.diffusion.processor_diffusion import make_diffusion_pre_post_processors


def make_paradp_pre_post_processors(config: Any, dataset_stats: Any = None) -> Any:
    """Makes the pipelines before and after the policy, for data with these statistics."""
    return make_diffusion_pre_post_processors(config, dataset_stats)
