"""Options with a fixed set of names. They are declared apart from the code, so that reading them needs no PyTorch."""

from typing import Literal

from paradp.sampler.plugins import plugins

# The engines of paradp and those registered here; `engine_names` adds those of installed packages.
ENGINES = ["auto", "eager", "compiled", "openvino", "cuda-graph"]
EngineName = str
# Entry point group for engines of other packages; each entry point is a `Builder`, see `paradp.policy.engines.building`.
ENGINE_GROUP = "paradp.engines"
# The network's floating-point format.
Precision = Literal["fp32", "bf16"]
# Scaling of a feature: by the limits of the data, by their mean and standard deviation, or none.
Scaling = Literal["min-max", "mean-std", "identity"]
# How a new chunk takes over from the one before it, see `paradp.policy.control.blending`.
Blending = Literal["replace", "blend", "inpaint"]
# What the robot does when a chunk is late, see `paradp.policy.control.asynchronous`.
Late = Literal["hold", "continue-chunk", "stop"]


def engine_names() -> tuple[str, ...]:
    """The names of all engines, including those of installed packages."""
    return tuple(dict.fromkeys((*ENGINES, *plugins(ENGINE_GROUP))))
