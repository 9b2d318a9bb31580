"""How a policy is served."""

from dataclasses import dataclass
from ssl import SSLContext

from paradp.policy.files.limits import within
from paradp.policy.serving.addresses import MOST_PORT, check_api_key, check_host

MOST = 2**31 - 1  # of anything that is counted; sockets and queues take no more


@dataclass(frozen=True)
class ServerConfig:
    """How to serve.

    Attributes:
        host, port: where to listen; 127.0.0.1 can only be reached from this machine. Port 0 is any that is free.
        api_key: what clients must know, if anything.
        most_clients: connections at a time.
        most_together: clients that are planned for in one batch.
        most_waiting: requests that may wait.
        most_bytes: of a message; the default lets pictures pass, which openpi's clients send along. Each client can make the
            server keep three times as much.
        tls: certificate and key of a server that speaks TLS, see `tls.server_context`.

    Raises:
        ValueError: a number is no whole number or out of its limits, or host or key are none.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = None
    most_clients: int = 64
    most_together: int = 8
    most_waiting: int = 64
    most_bytes: int = 2**21
    tls: SSLContext | None = None

    def __post_init__(self) -> None:
        for name in ("most_clients", "most_together", "most_waiting", "most_bytes"):
            within(name, getattr(self, name), 1, MOST)
        within("port", self.port, 0, MOST_PORT)
        object.__setattr__(self, "host", check_host(self.host))
        if self.api_key is not None:
            check_api_key(self.api_key)
