"""How a policy is served."""

from dataclasses import dataclass
from ssl import SSLContext

from paradp.policy.serving.addresses import check_api_key, check_host


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
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.port < 2**16:
            raise ValueError(f"port must be from 0 to 65535, not {self.port}")
        object.__setattr__(self, "host", check_host(self.host))
        if self.api_key is not None:
            check_api_key(self.api_key)
