"""The values of the samplers' options that are a choice. Apart from the solvers, so that names are read without PyTorch."""

from typing import Literal

Split = Literal["unit", "linear"]
Extension = Literal["copy", "roll"]
Draft = Literal["secant", "picard", "frozen"]
Start = Literal["previous", "cold"]
Spacing = Literal["leading", "trailing", "linspace"]
