"""The options of a network's computation, for commands that have all of them."""

from paradp.policy.computing import Computing
from paradp.scripts.typed_settings import Typed, options_of


@options_of(Computing)
class ComputingFlags(Typed[Computing]):
    """The options of a network's computation."""


DEFAULT_COMPUTING = ComputingFlags()
