"""How a policy is served."""

from dataclasses import dataclass
from ssl import SSLContext

from paradp.policy.serving.addresses import MOST_PORT, check_api_key, check_host
from paradp.policy.settings import Limits, Settings, setting

COUNTED = Limits(1, 1_000_000)  # connections, requests


@dataclass(frozen=True)
class ServerConfig(Settings):
    """How to serve.

    Attributes:
        host: whom to listen to; by default this machine alone, 0.0.0.0 for everyone.
        port: where to listen; 0 for any that is free.
        api_key: what clients must know, if anything.
        most_clients: connections at a time.
        most_together: clients that are planned for in one batch, at most.
        most_waiting: requests that may wait; further ones are told that the server is busy.
        most_bytes: of a message; the default lets pictures pass, which openpi's clients send along. Each client can make the
            server keep three times as much.
        tls: certificate and key of a server that speaks TLS, see `tls.server_context`.

    Raises:
        ValueError: a number is no whole number or out of its limits, or host or key are none.
    """

    host: str = "127.0.0.1"
    port: int = setting(8000, Limits(0, MOST_PORT))
    api_key: str | None = setting(None, option=False)
    most_clients: int = setting(64, COUNTED, typed="clients")
    most_together: int = setting(8, COUNTED, typed="together")
    most_waiting: int = setting(64, COUNTED, typed="waiting")
    most_bytes: int = setting(2**21, Limits(1, 2**31 - 1), option=False)
    tls: SSLContext | None = setting(None, option=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "host", check_host(self.host))
        if self.api_key is not None:
            check_api_key(self.api_key)
