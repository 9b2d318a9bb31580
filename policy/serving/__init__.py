"""A policy on a server, and a controller that asks it. Needs `pip install paradp[serve]`."""

from paradp.policy.serving.client import Remote, RemoteController
from paradp.policy.serving.server import PolicyServer, ServerConfig

__all__ = ["PolicyServer", "Remote", "RemoteController", "ServerConfig"]
