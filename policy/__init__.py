"""Diffusion policies: networks, training, planning, receding-horizon control. Needs no simulator."""

from typing import TYPE_CHECKING

from paradp.sampler.lazy import lazy_exports

if TYPE_CHECKING:
    from paradp.policy.autotune.planner import Planner
    from paradp.policy.autotune.profile import Planned
    from paradp.policy.choices import EngineName, Precision
    from paradp.policy.controller import Command, Controller, Hold, Replan
    from paradp.policy.diffusion_policy import DiffusionPolicy, Plan
    from paradp.policy.engines import Engine, build_engine, fastest_engine
    from paradp.policy.normalizer import Normalizer
    from paradp.policy.receding_horizon import Clock, RecedingHorizon, act_together
    from paradp.policy.spec import Horizons, PolicySpec
    from paradp.policy.transformer import ConditionalTransformer, TransformerConfig
    from paradp.policy.unet import ConditionalUnet1D, UnetConfig
else:
    __getattr__, __dir__, __all__ = lazy_exports(
        __name__,
        {
            "choices": "EngineName Precision",
            "controller": "Command Controller Hold Replan",
            "diffusion_policy": "DiffusionPolicy Plan",
            "engines": "Engine build_engine fastest_engine",
            "normalizer": "Normalizer",
            "autotune.planner": "Planner",
            "autotune.profile": "Planned",
            "receding_horizon": "Clock RecedingHorizon act_together",
            "spec": "Horizons PolicySpec",
            "transformer": "ConditionalTransformer TransformerConfig",
            "unet": "ConditionalUnet1D UnetConfig",
        },
    )
