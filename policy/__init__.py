"""Diffusion policies: networks, training, planning, receding-horizon control. Needs no simulator."""

from paradp.policy.controller import Command, Controller, RecedingHorizon, Replan, act_together
from paradp.policy.diffusion_policy import DiffusionPolicy, Plan
from paradp.policy.normalizer import Normalizer
from paradp.policy.spec import Horizons, PolicySpec
from paradp.policy.unet import ConditionalUnet1D, UnetConfig

__all__ = [
    "Command",
    "ConditionalUnet1D",
    "Controller",
    "DiffusionPolicy",
    "Horizons",
    "Normalizer",
    "Plan",
    "PolicySpec",
    "RecedingHorizon",
    "Replan",
    "UnetConfig",
    "act_together",
]
