"""Diffusion policies: networks, training, planning, receding-horizon control. Needs no simulator."""

from typing import TYPE_CHECKING

from paradp.sampler.lazy import lazy_exports

if TYPE_CHECKING:
    from paradp.policy.choices import EngineName, Precision
    from paradp.policy.control.asynchronous import AsyncController
    from paradp.policy.control.controller import Command, Controller, Hold, Replan
    from paradp.policy.control.limits import SafetyLimits, SafetyReport, StopReason
    from paradp.policy.control.receding_horizon import Clock, RecedingHorizon, act_together
    from paradp.policy.control.safety import SafeController
    from paradp.policy.control.sources import InProcess, InThread
    from paradp.policy.data.normalizer import Normalizer
    from paradp.policy.diffusion_policy import DiffusionPolicy, Plan
    from paradp.policy.engines.autotune.autotuner import Autotuner
    from paradp.policy.engines.autotune.profile import Planned
    from paradp.policy.engines.building import build_engine, fastest_engine, register_engine
    from paradp.policy.engines.engine import Engine
    from paradp.policy.horizons import Horizons
    from paradp.policy.networks.conditional import ConditionalNetwork, SinusoidalEmbedding
    from paradp.policy.networks.configs import register_network
    from paradp.policy.networks.network_config import NetworkConfig
    from paradp.policy.networks.transformer import ConditionalTransformer
    from paradp.policy.networks.transformer_config import TransformerConfig
    from paradp.policy.networks.unet import ConditionalUnet1D
    from paradp.policy.networks.unet_config import UnetConfig
    from paradp.policy.processes import spare_garbage_collection
    from paradp.policy.settings import Limits, setting
    from paradp.policy.spec import PolicySpec
else:
    __getattr__, __dir__, __all__ = lazy_exports(
        __name__,
        {
            "choices": "EngineName Precision",
            "control.asynchronous": "AsyncController",
            "control.controller": "Command Controller Hold Replan",
            "control.limits": "SafetyLimits SafetyReport StopReason",
            "diffusion_policy": "DiffusionPolicy Plan",
            "engines.building": "build_engine fastest_engine register_engine",
            "engines.engine": "Engine",
            "data.normalizer": "Normalizer",
            "engines.autotune.autotuner": "Autotuner",
            "engines.autotune.profile": "Planned",
            "control.receding_horizon": "Clock RecedingHorizon act_together",
            "control.safety": "SafeController",
            "control.sources": "InProcess InThread",
            "processes": "spare_garbage_collection",
            "horizons": "Horizons",
            "spec": "PolicySpec",
            "networks.transformer": "ConditionalTransformer",
            "networks.transformer_config": "TransformerConfig",
            "networks.unet": "ConditionalUnet1D",
            "networks.unet_config": "UnetConfig",
            "networks.conditional": "ConditionalNetwork SinusoidalEmbedding",
            "networks.network_config": "NetworkConfig",
            "networks.configs": "register_network",
            "settings": "Limits setting",
        },
        renamed={"Planner": "Autotuner"},
    )
