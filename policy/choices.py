"""What a user chooses by name. Apart from what does it, so that names are read without PyTorch."""

from typing import Literal

from paradp.sampler.plugins import plugins

# The engines that come with paradp and those registered here; `engine_names` has those of installed packages, too.
ENGINES = ["auto", "eager", "compiled", "openvino", "cuda-graph"]
EngineName = str
# The entry points of other packages' engines: each builds one, see `Builder` in `paradp.policy.engines.building`.
ENGINE_GROUP = "paradp.engines"
# Of a network's arithmetic.
Precision = Literal["fp32", "bf16"]
# How a feature is scaled: by the limits of the data, by their mean and standard deviation, or not at all.
Scaling = Literal["min-max", "mean-std", "identity"]
# How a chunk joins the one before it, see `paradp.policy.joining`.
Joining = Literal["replace", "blend", "inpaint"]
# What happens when a chunk is not there in time, see `paradp.policy.control.asynchronous`.
Late = Literal["hold", "continue-chunk", "stop"]


def engine_names() -> tuple[str, ...]:
    """Every engine that can be chosen, those of installed packages too."""
    return tuple(dict.fromkeys((*ENGINES, *plugins(ENGINE_GROUP))))
