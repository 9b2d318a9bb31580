"""Which networks there are, by their settings.

A network that is listed here can be trained and stored, and `paradp train` has an option for every setting of it. Its `kind`
is the name of the module beside this one that builds it; see `paradp.policy.networks.building`.
"""

from paradp.policy.networks.transformer_config import TransformerConfig
from paradp.policy.networks.unet_config import UnetConfig

NetworkConfig = UnetConfig | TransformerConfig
