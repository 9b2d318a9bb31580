"""Which networks there are, by their settings.

A network that is listed here can be trained and stored, and `paradp train` has an option for every setting of it.
"""

from paradp.policy.networks.network_config import NetworkConfig
from paradp.policy.networks.transformer_config import TransformerConfig
from paradp.policy.networks.unet_config import UnetConfig
from paradp.policy.settings import kind_of
from paradp.sampler.lookup import unknown
from paradp.sampler.plugins import load_plugin, plugins

# The entry points of other packages' networks: each is the class of a network's settings, and its name is their `kind`.
GROUP = "paradp.networks"
NETWORKS: dict[str, type[NetworkConfig]] = {"unet": UnetConfig, "transformer": TransformerConfig}


def register_network(config: type[NetworkConfig]) -> None:
    """Adds a network in this process; an entry point of the group `paradp.networks` does it in every process.

    Raises:
        ValueError: the name is taken.
    """
    if NETWORKS.setdefault(kind_of(config), config) is not config:
        raise ValueError(f"there are two networks of the name {kind_of(config)!r}")


def find_network(kind: str) -> type[NetworkConfig]:
    """The class of a network's settings, of an installed package's network too.

    Raises:
        ValueError: there is none; the message names those there are and the nearest.
    """
    if kind not in NETWORKS and kind in plugins(GROUP):
        register_network(load_plugin(GROUP, kind, type))
    if kind not in NETWORKS:
        raise ValueError(unknown("unknown network", kind, (*NETWORKS, *plugins(GROUP))))
    return NETWORKS[kind]


def all_networks() -> tuple[type[NetworkConfig], ...]:
    """The settings of every network, of installed packages' networks too.

    Raises:
        ValueError: an installed package's network cannot be imported.
    """
    return tuple(find_network(kind) for kind in dict.fromkeys((*NETWORKS, *plugins(GROUP))))
