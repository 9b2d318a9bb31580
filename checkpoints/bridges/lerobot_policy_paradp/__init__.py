"""LeRobot's diffusion policy with the samplers of paradp, and paradp's tasks, both of type `paradp`; LeRobot finds them."""

from lerobot_policy_paradp.configuration_paradp import ParadpConfig
from lerobot_policy_paradp.environment_paradp import ParadpEnvConfig
