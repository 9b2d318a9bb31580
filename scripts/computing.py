"""The options of how a network is computed, of commands that take all of them."""

from paradp.policy.computing import Computing
from paradp.scripts.typed_settings import Typed, options_of


@options_of(Computing)
class ComputingFlags(Typed[Computing]):
    pass


DEFAULT_COMPUTING = ComputingFlags()
