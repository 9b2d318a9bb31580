"""Addresses to listen on and to connect to, and API keys; invalid ones are refused and never altered."""

import errno
import re
import socket
from urllib.parse import urlsplit

MOST_PORT = 2**16 - 1
# Hosts that mean all addresses of a machine: a server can listen on them, but clients cannot connect to them.
_EVERYWHERE = {"0.0.0.0", "::", "0", "::0"}
# Error codes of binding to an address that the machine does not have.
_ABSENT = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
# Characters that an HTTP header transmits unchanged, and with which nothing can be appended to it.
_API_KEY = re.compile(r"[!-~](?:[ -~]{0,510}[!-~])?")


def check_api_key(key: str) -> None:
    """Raises:
    ValueError: the key cannot be sent as it is; it is not repeated.
    """
    if not key:
        raise ValueError("an empty API key would let everyone in; leave it out for that")
    if not _API_KEY.fullmatch(key):
        raise ValueError(
            "an API key is 1 to 512 letters, digits and signs of ASCII, without line breaks and without blanks at its ends"
        )


def check_host(host: str) -> str:
    """Converts a host to the form for sockets, an IPv6 address without brackets.

    Raises:
        ValueError: it is not a host.
    """
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not re.fullmatch(r"[\w.:%-]+", bare) or (":" in bare and bare.count(":") < 2):
        raise ValueError(f"a host is a name or an address, such as 127.0.0.1, 0.0.0.0, ::1 or robot.local, not {host!r}")
    return bare


def url(host: str, port: int, tls: bool) -> str:
    """The URL for clients."""
    return f"{'wss' if tls else 'ws'}://{f'[{host}]' if ':' in host else host}:{port}"


def urls(host: str, port: int, tls: bool) -> list[str]:
    """The URLs for clients if the server listens on this host; this machine's address comes first."""
    if host not in _EVERYWHERE:
        return [url(host, port, tls)]
    family, here = (socket.AF_INET6, "::1") if ":" in host else (socket.AF_INET, "127.0.0.1")
    return [url(one, port, tls) for one in (here, _outward_address(family))]


def check_url(uri: str) -> None:
    """Raises:
    ValueError: it is not an address of a policy server.
    """
    try:
        parts = urlsplit(uri)
        good = parts.scheme in ("ws", "wss") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise ValueError(f"{uri[:100]} is not a policy server: an address is ws://HOST:PORT, or wss://HOST:PORT with TLS")


def listenable(host: str, port: int) -> list[str]:
    """Returns the addresses of a host, after checking that one can listen there. An IPv6 address of a name is left out on a
    machine without IPv6.

    Raises:
        OSError: one cannot listen there; the message contains the reason and the remedy.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise cannot_listen(host, port, error) from error
    tried = {str(address[0]): _bind(family, address) for family, *_, address in found}
    good = [address for address, error in tried.items() if error is None]
    errors = [error for error in tried.values() if error is not None]
    serious = [error for error in errors if error.errno not in _ABSENT]
    if serious or not good:
        raise cannot_listen(host, port, (serious or errors)[0])
    return good


def cannot_listen(host: str, port: int, error: Exception) -> OSError:
    """Returns the error with a message of place, reason and remedy."""
    where = f"cannot listen on {host}, port {port}: "
    match getattr(error, "errno", None):
        case errno.EADDRINUSE:
            return OSError(f"{where}it is in use; end the server there, or choose another port (0 takes any that is free)")
        case errno.EACCES | errno.EPERM:
            return OSError(f"{where}ports below 1024 need rights that this user has not; choose a higher one, such as 8000")
        case errno.EADDRNOTAVAIL:
            return OSError(f"{where}the address is not of this machine; 0.0.0.0 listens on all that it has")
    if isinstance(error, socket.gaierror | UnicodeError):
        return OSError(f"{where}there is no such host; give an address of this machine, or 0.0.0.0 for all that it has")
    return OSError(f"{where}{getattr(error, 'strerror', None) or error}")


def _bind(family: int, address: tuple) -> OSError | None:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(address)
    except OSError as error:
        return error
    return None


def _outward_address(family: socket.AddressFamily) -> str:
    """This machine's address for others, or its name if it has none. Sends nothing."""
    elsewhere = "2001:db8::1" if family == socket.AF_INET6 else "192.0.2.1"  # an address reserved for documentation
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return socket.gethostname()
