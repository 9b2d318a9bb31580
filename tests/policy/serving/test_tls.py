"""TLS: a server with a certificate made for the test, its clients, and wrong files."""

import shutil
import ssl
import subprocess
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from paradp.policy.requests import PlanRequest
from paradp.policy.serving import Remote, server_context
from paradp.policy.serving.tls import client_context

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates are made by openssl")


def make(folder: Path, name: str) -> tuple[Path, Path]:
    """Makes a self-signed certificate for 127.0.0.1, and its key."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    options = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", *options, *names, "-out", certificate, "-keyout", key]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    for name in ("server", "other"):
        make(folder, name)
    encrypt = ["openssl", "pkey", "-in", "server.key", "-aes256", "-passout", "pass:x", "-out", "encrypted.key"]
    subprocess.run(encrypt, check=True, capture_output=True, cwd=folder)
    (folder / "text").write_text("not a certificate")
    (folder / "garbage.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    (folder / "large").write_bytes(bytes(2**20 + 1))
    return folder


@pytest.fixture
def secured(policy, running, files):
    with running(policy, tls=server_context(files / "server.pem", files / "server.key")) as serving:
        serving.uri = serving.uri.replace("ws:", "wss:")
        yield serving


REQUEST = PlanRequest({"position": np.zeros((2, 2), np.float32), "constant": np.zeros((2, 1), np.float32)}, noise_seed=1)


def test_a_plan_is_served_over_tls(secured, files):
    remote = Remote(secured.uri, ca=files / "server.pem")
    assert remote.submit(REQUEST).result(120).stats.converged
    remote.close()
    trusting = ssl.create_default_context(cafile=str(files / "server.pem"))
    assert urllib.request.urlopen(f"https://127.0.0.1:{secured.port}/healthz", context=trusting).read() == b"OK\n"


def test_the_systems_certificates_can_be_replaced(secured, files, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(files / "server.pem"))
    Remote(secured.uri).close()


@pytest.mark.parametrize("ca", [None, "other.pem"])
def test_a_server_that_is_not_trusted_is_refused_at_once(secured, files, ca):
    """Without retries during `connect_seconds`."""
    with pytest.raises(ConnectionError, match=r"is not trusted: self.signed certificate; name the file"):
        Remote(secured.uri, ca=ca and files / ca, connect_seconds=600)


def test_a_certificate_for_another_host_is_not_trusted(secured, files):
    with pytest.raises(ConnectionError, match=r"is not trusted: .*localhost"):
        Remote(secured.uri.replace("127.0.0.1", "localhost"), ca=files / "server.pem", connect_seconds=600)


def test_clients_and_servers_with_and_without_tls_refuse_each_other(secured, serving, files):
    with pytest.raises(ConnectionError, match=r"does it speak TLS \(wss://\)\?"):
        Remote(secured.uri.replace("wss:", "ws:"), connect_seconds=0.2)
    with pytest.raises(ConnectionError, match="does not speak TLS; is it ws://"):
        Remote(serving.uri.replace("ws:", "wss:"), ca=files / "server.pem", connect_seconds=600)


@pytest.mark.parametrize(
    ("certificate", "key", "said"),
    [
        ("absent", "server.key", r"there is no certificate .*absent"),
        ("server.pem", "absent", r"there is no private key .*absent"),
        ("", "server.key", r"there is no certificate .*tls"),
        ("text", "server.key", r"text is not a certificate in PEM format"),
        ("server.pem", "text", r"text is not a private key in PEM format"),
        ("garbage.pem", "server.key", r"garbage.pem and .*server.key are not a certificate and a private key in PEM format"),
        ("server.key", "server.pem", r"server.key is not a certificate in PEM format"),
        ("server.pem", "other.key", r"other.key is not the key of the certificate .*server.pem"),
        ("server.pem", "encrypted.key", r"encrypted.key is encrypted; decrypt it first: openssl pkey"),
        ("large", "server.key", r"large is not a certificate: it has more than 1048576 bytes"),
    ],
)
def test_wrong_files_are_named(files, certificate, key, said):
    with pytest.raises(ValueError, match=said):
        server_context(files / certificate, files / key)


@pytest.mark.parametrize(("ca", "said"), [("absent", "there is no certificate"), ("text", "holds no certificates")])
def test_a_wrong_authority_is_named(files, ca, said):
    with pytest.raises(ValueError, match=said):
        client_context(files / ca)


def test_a_device_is_refused_as_a_certificate(files):
    """Reading it would never end."""
    with pytest.raises(ValueError, match="there is no certificate /dev/zero"):
        server_context(Path("/dev/zero"), files / "server.key")
