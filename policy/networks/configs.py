"""The registry of networks, by the classes of their settings.

A registered network can be trained and stored, and `paradp train` has an option for each of its settings.
"""

from paradp.policy.networks.network_config import NetworkConfig
from paradp.policy.networks.transformer_config import TransformerConfig
from paradp.policy.networks.unet_config import UnetConfig
from paradp.policy.settings import kind_of
from paradp.sampler.lookup import unknown
from paradp.sampler.plugins import load_plugin, plugins

# Entry point group for networks of other packages: each entry point is the class of the settings, and its name their `kind`.
GROUP = "paradp.networks"
NETWORKS: dict[str, type[NetworkConfig]] = {"unet": UnetConfig, "transformer": TransformerConfig}


def register_network(config: type[NetworkConfig]) -> None:
    """Adds a network in this process; an entry point of the group `paradp.networks` does it in every process.

    Raises:
        ValueError: the name is taken.
    """
    if NETWORKS.setdefault(kind_of(config), config) is not config:
        raise ValueError(f"two networks have the name {kind_of(config)!r}")


def find_network(kind: str) -> type[NetworkConfig]:
    """Finds the class of a network's settings by its kind, also in installed packages.

    Raises:
        ValueError: the kind is unknown; the message lists all kinds and the closest one.
    """
    if kind not in NETWORKS and kind in plugins(GROUP):
        register_network(load_plugin(GROUP, kind, type))
    if kind not in NETWORKS:
        raise ValueError(unknown("unknown network", kind, (*NETWORKS, *plugins(GROUP))))
    return NETWORKS[kind]


def all_networks() -> tuple[type[NetworkConfig], ...]:
    """The classes of settings of all networks, including those of installed packages.

    Raises:
        ValueError: an installed package's network cannot be imported.
    """
    return tuple(find_network(kind) for kind in dict.fromkeys((*NETWORKS, *plugins(GROUP))))
