"""TLS for a server and its clients, with error messages that name the wrong file."""

import ssl
from pathlib import Path

# Size limit of a file; a certificate with its whole chain has some kilobytes.
_MOST_BYTES = 2**20


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Makes the TLS context of a server.

    Args:
        certificate: a PEM file with the server's certificate, then those that lead to its authority's.
        key: a PEM file with its private key, not encrypted.

    Raises:
        ValueError: a file is missing or not a certificate or key, or the two do not match.
    """
    for path, what in ((certificate, "certificate"), (key, "private key")):
        _check(path, what)
    if b"BEGIN CERTIFICATE" not in certificate.read_bytes():
        raise ValueError(f"{certificate} is not a certificate in PEM format")
    if b"PRIVATE KEY" not in key.read_bytes():
        raise ValueError(f"{key} is not a private key in PEM format")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password=_refuse)
    except _Encrypted:
        raise ValueError(f"{key} is encrypted; decrypt it first: openssl pkey -in {key} -out server.key") from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ValueError(f"{key} is not the key of the certificate {certificate}") from error
        why = error.reason or error
        raise ValueError(f"{certificate} and {key} are not a certificate and a private key in PEM format: {why}") from error
    return context


def client_context(authority: Path | None = None) -> ssl.SSLContext:
    """Makes the TLS context with which a client checks a server's certificate.

    Args:
        authority: a PEM file with the certificates to trust; those of the system by default, or of `SSL_CERT_FILE`.

    Raises:
        ValueError: the file is missing or holds no certificates.
    """
    if authority is None:
        return ssl.create_default_context()
    _check(authority, "certificate")
    try:
        return ssl.create_default_context(cafile=str(authority))
    except ssl.SSLError as error:
        raise ValueError(f"{authority} holds no certificates in PEM format: {error.reason or error}") from error


def _check(path: Path, what: str) -> None:
    if not path.is_file():
        raise ValueError(f"there is no {what} {path}")
    try:
        with path.open("rb") as file:
            size = len(file.read(_MOST_BYTES + 1))
    except OSError as error:
        raise ValueError(f"the {what} {path} cannot be read: {error.strerror}") from error
    if size > _MOST_BYTES:
        raise ValueError(f"{path} is not a {what}: it has more than {_MOST_BYTES} bytes")


class _Encrypted(Exception):
    """A key needs a password, which OpenSSL would otherwise request on the terminal."""


def _refuse() -> str:
    raise _Encrypted
