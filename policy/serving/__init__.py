"""A policy on a server, and a controller that asks it. Needs `pip install paradp[serve]`."""

from paradp.policy.serving.addresses import listenable, urls
from paradp.policy.serving.client import Remote, RemoteController
from paradp.policy.serving.config import ServerConfig
from paradp.policy.serving.server import PolicyServer
from paradp.policy.serving.tls import server_context

__all__ = ["PolicyServer", "Remote", "RemoteController", "ServerConfig", "listenable", "server_context", "urls"]
