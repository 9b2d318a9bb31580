"""Types of the samplers' options. They are declared apart from the solvers, so that parsing a name needs no PyTorch."""

from typing import Literal

Split = Literal["unit", "linear"]
Extension = Literal["copy", "roll"]
Draft = Literal["secant", "picard", "frozen", "trained"]
SECANTS = ("secant", "trained")  # the drafts that use how predictions changed
Start = Literal["previous", "cold"]
# The kind of training: to denoise step by step, to predict the end of the trajectory, or to predict a velocity.
Process = Literal["diffusion", "consistency", "flow"]
# How T timesteps are spread over the training's N (diffusers' names; Lin et al. 2024, table 2): `leading` ends at 0 and does
# not start at N − 1, `trailing` starts there and ends above 0, `linspace` takes both ends. `sine` is ours: it takes both
# ends, and is densest where little noise is left (`paradp.sampler.schedules.grids.sine_grid`).
Spacing = Literal["leading", "trailing", "linspace", "sine"]

# More than in any published schedule (usually 1000, at most 4000). A larger number is a broken file, and would cost memory.
MOST_TIMESTEPS = 10_000


class Timesteps(tuple[int, ...]):
    """A grid of timesteps, from noise to data; prints as it is typed: `99-66-33`."""

    @classmethod
    def read(cls, text: str) -> "Timesteps":
        """Reads `99-66-33`.

        Raises:
            ValueError: a part is not an integer.
        """
        return cls(int(t) for t in text.split("-"))

    def __str__(self) -> str:
        return "-".join(map(str, self))
