"""Addresses and keys of a server: each works as printed, or is refused with a sentence."""

import asyncio
import errno
import os
import re
import socket
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from paradp.policy.serving import PolicyServer, Remote, ServerConfig
from paradp.policy.serving.addresses import cannot_listen, listenable, url, urls


@pytest.mark.parametrize(
    ("host", "tls", "printed"),
    [
        ("127.0.0.1", False, "ws://127.0.0.1:8000"),
        ("robot.local", True, "wss://robot.local:8000"),
        ("::1", False, "ws://[::1]:8000"),
        ("fe80::1%eth0", True, "wss://[fe80::1%eth0]:8000"),
    ],
)
def test_addresses_are_printed_in_the_form_that_clients_take(host, tls, printed):
    assert url(host, 8000, tls) == printed and urls(host, 8000, tls) == [printed]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "::1", "[::1]", "::"])
def test_clients_can_connect_to_printed_addresses(policy, running, host):
    if ":" in host and not _has_ipv6():
        pytest.skip("this machine has no IPv6")
    with running(policy, host=host) as serving:
        printed = urls(ServerConfig(host=host).host, serving.port, tls=False)
        # The second is this machine's name where it has no address; names need not be known.
        for uri in printed[: 1 + printed[-1].rsplit(":", 1)[0].endswith(tuple("0123456789]"))]:
            Remote(uri).close()


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_all_addresses_are_printed_as_one_of_this_machine_and_one_for_others():
    here, elsewhere = urls("0.0.0.0", 8000, tls=False)
    assert here == "ws://127.0.0.1:8000" and "0.0.0.0" not in elsewhere
    assert urls("::", 8000, tls=True)[0] == "wss://[::1]:8000"


def test_the_error_of_a_used_port_says_what_to_do(policy, running):
    with running(policy) as serving:
        port = serving.port
        said = f"cannot listen on 127.0.0.1, port {port}: it is in use; end the server there, or choose another port"
        second = PolicyServer(policy, ServerConfig(port=port), "ddpm")
        for listen in (lambda: listenable("127.0.0.1", port), lambda: asyncio.run(second.run(asyncio.Event()))):
            with pytest.raises(OSError, match=re.escape(said)):
                listen()


def test_the_error_of_another_machines_address_says_what_to_do():
    with pytest.raises(OSError, match=r"cannot listen on 192\.0\.2\.77, port 8000: the address is not of this"):
        listenable("192.0.2.77", 8000)


def test_an_unknown_host_is_named():
    with pytest.raises(OSError, match=r"cannot listen on nobody\.invalid, port 8000: there is no such host"):
        listenable("nobody.invalid", 8000)


def test_the_error_of_a_port_below_1024_says_what_to_do():
    assert "port 80: ports below 1024 need rights" in str(
        cannot_listen("127.0.0.1", 80, OSError(errno.EACCES, "Permission"))
    )
    if os.geteuid() == 0 or int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 80:
        return  # here anyone may
    with pytest.raises(OSError, match="ports below 1024 need rights"):
        listenable("127.0.0.1", 80)


def test_looking_for_a_port_leaves_it_free():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    assert listenable("127.0.0.1", port) == listenable("127.0.0.1", port) == ["127.0.0.1"]


@pytest.mark.parametrize("host", ["", "ws://0.0.0.0", "127.0.0.1:8000", "a b", "host\n", "*", "[::1]:8000", "a/b"])
def test_an_invalid_host_is_refused(host):
    with pytest.raises(ValueError, match="a host is a name or an address"):
        ServerConfig(host=host)


KEYS = ["secret", "a b c", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", "x" * 512, ",", "Api-Key"]
NO_KEYS = ["", " ", " secret", "secret ", "secret\n", "a\r\nX-Other: b", "a\tb", "pässword", "ключ", "🔑", "a\0b", "x" * 513]


@pytest.mark.parametrize("key", KEYS)
def test_a_key_accepted_by_the_server_admits_its_clients_and_no_others(policy, running, client, key):
    with running(policy, api_key=key) as serving:
        Remote(serving.uri, api_key=key).close()
        for wrong in (key + "x", key[:-1], key.swapcase() + "'", f"{key} {key}"):
            with pytest.raises(InvalidStatus):
                client(serving.uri, additional_headers={"Authorization": f"Api-Key {wrong}"})


@pytest.mark.parametrize("key", NO_KEYS)
def test_a_key_that_no_header_can_carry_is_refused_by_both_sides_and_not_printed(key):
    for refuses in (lambda: ServerConfig(api_key=key), lambda: Remote("ws://127.0.0.1:9", api_key=key)):
        with pytest.raises(ValueError, match="API key") as refused:
            refuses()
        assert not key.strip() or key not in str(refused.value)


@pytest.mark.parametrize(
    "uri", ["", "127.0.0.1:8000", "http://127.0.0.1:8000", "ws://", "ws://:8000", "ws://h:99999", "ws://h:x"]
)
def test_an_invalid_address_of_a_server_is_refused_at_once(uri):
    with pytest.raises(ValueError, match="is not a policy server: an address is ws://HOST:PORT"):
        Remote(uri)
