"""The expert for PushT: the push that helps most, round the T to where it begins, and so on."""

from collections.abc import Generator

import numpy as np

# Executed and learned noise is in units of so many px.
UNIT_PX = 40.0
ARRIVED_PX = 4.0
RING_PX = (95.0, 125.0)

Script = Generator[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]
