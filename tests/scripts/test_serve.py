"""`paradp serve` with impossible settings: one sentence with place and remedy, before anything is loaded."""

import socket
import sys

import pytest

from paradp.scripts.main import main


@pytest.fixture
def complaint(monkeypatch, capsys):
    """Runs a command that must fail; returns its error."""

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["paradp", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert ended.value.code == 2 and "serving at" not in said.out
        [sentence] = said.err.strip().splitlines()
        return sentence

    return run


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "192.0.2.77"], "cannot listen on 192.0.2.77, port 8000: the address is not of this machine"),
        (["--host", "nobody.invalid"], "cannot listen on nobody.invalid, port 8000: there is no such host"),
        (["--host", "ws://0.0.0.0"], "a host is a name or an address, such as 127.0.0.1"),
        (["--host", "127.0.0.1:8000"], "a host is a name or an address, such as 127.0.0.1"),
        (["--tls-cert", "server.pem"], "TLS needs both --tls-cert and --tls-key"),
        (["--tls-key", "server.key"], "TLS needs both --tls-cert and --tls-key"),
        (["--tls-cert", "server.pem", "--tls-key", "server.key"], "there is no certificate server.pem"),
    ],
)
def test_a_mistake_is_one_sentence(complaint, monkeypatch, tmp_path, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert said in complaint("serve", "lift", "--sampler", "ddim-5", *arguments)


def test_a_used_port_is_one_sentence(complaint):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = complaint("serve", "lift", "--sampler", "ddim-5", "--port", str(port))
    assert f"cannot listen on 127.0.0.1, port {port}: it is in use; end the server there, or choose another port" in said


@pytest.mark.parametrize("key", ["", "secret\n", "a\r\nX-Other: b", "пароль"])
def test_a_key_that_cannot_be_sent_is_refused_by_server_and_client(complaint, monkeypatch, key):
    monkeypatch.setenv("PARADP_API_KEY", key)
    for command in (["serve", "lift", "--sampler", "ddim-5"], ["drive", "lift", "--server", "ws://127.0.0.1:9"]):
        said = complaint(*command)
        assert "API key" in said and (not key or key.strip() not in said)


@pytest.mark.parametrize("command", [["serve", "lift"], ["drive", "lift", "--server", "ws://127.0.0.1:9"]])
def test_the_error_of_a_missing_package_says_how_to_install_it(complaint, monkeypatch, command):
    monkeypatch.setattr("paradp.scripts.extras.find_spec", lambda name: None if name == "msgpack" else object())
    assert complaint(*command).endswith(
        'this needs msgpack, which is not installed: in a clone of paradp, pip install ".[serve]"'
    )
