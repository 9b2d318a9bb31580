"""LeRobot's diffusion policy with the samplers of paradp, as a policy of type `paradp` that LeRobot finds by itself."""

from lerobot_policy_paradp.configuration_paradp import ParadpConfig
