"""A plugin for LeRobot: its diffusion policy with the samplers of paradp, and paradp's tasks, both as the type `paradp`."""

from lerobot_policy_paradp.configuration_paradp import ParadpConfig
from lerobot_policy_paradp.environment_paradp import ParadpEnvConfig
