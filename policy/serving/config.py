"""Settings of a policy server."""

from dataclasses import dataclass
from ssl import SSLContext

from paradp.policy.serving.addresses import MOST_PORT, check_api_key, check_host
from paradp.policy.settings import Limits, Settings, setting

COUNTED = Limits(1, 1_000_000)  # largest allowed numbers of connections, and of waiting requests


@dataclass(frozen=True)
class ServerConfig(Settings):
    """Settings of a policy server.

    Attributes:
        host: address to listen on; by default only this machine can connect, with 0.0.0.0 every machine can.
        port: port to listen on; 0 for any free port.
        api_key: key that clients must send; none is required by default.
        most_clients: largest number of connections.
        most_together: largest number of clients in one batch of plans.
        most_waiting: largest number of waiting requests; further ones are answered with "busy".
        most_bytes: largest size of a message; by default 2 MiB plus the size of the policy's observed images. The server may
            buffer three times as much per client.
        tls: certificate and key for TLS, see `tls.server_context`.

    Raises:
        ValueError: a number is not an integer or exceeds its limits, or host or key are invalid.
    """

    host: str = "127.0.0.1"
    port: int = setting(8000, Limits(0, MOST_PORT))
    api_key: str | None = setting(None, option=False)
    most_clients: int = setting(64, COUNTED, typed="clients")
    most_together: int = setting(8, COUNTED, typed="together")
    most_waiting: int = setting(64, COUNTED, typed="waiting")
    most_bytes: int | None = setting(None, Limits(1, 2**31 - 1), option=False)
    tls: SSLContext | None = setting(None, option=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "host", check_host(self.host))
        if self.api_key is not None:
            check_api_key(self.api_key)
