"""A policy server, and a controller that requests plans from it. Needs the extra `serve`."""

from typing import TYPE_CHECKING

from paradp.sampler.lazy import lazy_exports

if TYPE_CHECKING:
    from paradp.policy.serving.addresses import listenable, urls
    from paradp.policy.serving.client import Remote, RemoteController
    from paradp.policy.serving.config import ServerConfig
    from paradp.policy.serving.server import PolicyServer
    from paradp.policy.serving.tls import server_context
else:
    __getattr__, __dir__, __all__ = lazy_exports(
        __name__,
        {
            "addresses": "listenable urls",
            "client": "Remote RemoteController",
            "config": "ServerConfig",
            "server": "PolicyServer",
            "tls": "server_context",
        },
    )
