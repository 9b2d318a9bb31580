"""Diffusion policies: networks, training, planning, receding-horizon control. Needs no simulator."""

from paradp.policy.controller import Command, Controller, Hold, Replan
from paradp.policy.diffusion_policy import DiffusionPolicy, Plan
from paradp.policy.engines import Engine, EngineName, build_engine, fastest_engine
from paradp.policy.normalizer import Normalizer
from paradp.policy.planner import Planned, Planner
from paradp.policy.receding_horizon import Clock, RecedingHorizon, act_together
from paradp.policy.spec import Horizons, PolicySpec, Precision
from paradp.policy.transformer import ConditionalTransformer, TransformerConfig
from paradp.policy.unet import ConditionalUnet1D, UnetConfig

__all__ = [
    "Clock",
    "Command",
    "ConditionalTransformer",
    "ConditionalUnet1D",
    "Controller",
    "DiffusionPolicy",
    "Engine",
    "EngineName",
    "Hold",
    "Horizons",
    "Normalizer",
    "Plan",
    "Planned",
    "Planner",
    "PolicySpec",
    "Precision",
    "RecedingHorizon",
    "Replan",
    "TransformerConfig",
    "UnetConfig",
    "act_together",
    "build_engine",
    "fastest_engine",
]
