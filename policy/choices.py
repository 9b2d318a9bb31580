"""What a user chooses by name. Apart from what does it, so that names are read without PyTorch."""

from typing import Literal

EngineName = Literal["auto", "eager", "compiled", "openvino", "cuda-graph"]
# Of a network's arithmetic.
Precision = Literal["fp32", "bf16"]
# How a feature is scaled: by the limits of the data, by their mean and standard deviation, or not at all.
Scaling = Literal["min-max", "mean-std", "identity"]
# How a chunk joins the one before it, see `paradp.policy.joining`.
Joining = Literal["replace", "blend", "inpaint"]
# What happens when a chunk is not there in time, see `paradp.policy.control.asynchronous`.
Late = Literal["hold", "continue-chunk", "stop"]
