"""A plugin for LeRobot: its diffusion policy with the samplers of paradp, as the policy type `paradp`."""

from lerobot_policy_paradp.configuration_paradp import ParadpConfig
