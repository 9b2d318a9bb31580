"""`paradp serve`: a policy for robots on the network."""

import asyncio
import os
import signal
from pathlib import Path
from ssl import SSLContext
from typing import TYPE_CHECKING, Annotated

import tyro

from paradp.policy.choices import EngineName, Precision
from paradp.policy.serving.addresses import MOST_PORT, check_api_key, check_url, listenable, urls
from paradp.policy.serving.config import ServerConfig
from paradp.policy.serving.tls import client_context, server_context
from paradp.rollouts.machine import cores
from paradp.sampler import SamplerChoice
from paradp.scripts.call import Count, Several, Within
from paradp.scripts.console import console, doing, loading, say
from paradp.scripts.extras import check_installed
from paradp.scripts.lists import SamplerText
from paradp.scripts.places import check_device, checkpoint_named

if TYPE_CHECKING:
    from paradp.policy.serving import PolicyServer, Remote

API_KEY = "PARADP_API_KEY"
PACKAGES = ("websockets", "msgpack", "prometheus_client")
Port = Annotated[int, Within(0, MOST_PORT)]


# Long: its parameters are the command's options, and its docstring is their help.
def serve(
    checkpoint: tyro.conf.Positional[str],
    port: Port = 8000,
    host: str = "127.0.0.1",
    sampler: SamplerText = "auto",
    together: Count = 8,
    waiting: Count = 64,
    clients: Count = 64,
    threads: Several | None = None,
    device: str = "cpu",
    engine: EngineName = "auto",
    precision: Precision = "fp32",
    max_message_kib: Count = 2048,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
) -> None:
    """Serve a policy over websockets, as openpi's clients speak to one.

    With PARADP_API_KEY set, clients must know it. /healthz says OK, /metrics is for Prometheus. Ctrl-C or SIGTERM end it
    after the answers to what it has accepted.

        paradp serve square
        PARADP_API_KEY=secret paradp serve runs/train/checkpoint \\
            --host 0.0.0.0 --port 8000
        paradp serve square --host 0.0.0.0 \\
            --tls-cert server.pem --tls-key server.key

    Args:
        checkpoint: a pretrained policy's name or a checkpoint's directory.
        port: where to listen; 0 for any that is free.
        host: whom to listen to; by default this machine alone, 0.0.0.0 for everyone.
        together: clients that are planned for in one batch, at most.
        waiting: requests that may wait; further ones are told that the server is busy.
        clients: connections at a time.
        threads: of the network; all cores by default.
        device: where the network computes: cpu or cuda; over several, as in cuda:0,cuda:1, the rows of its calls are spread.
        engine: what computes it; auto takes the fastest that there is for the device.
        precision: of its arithmetic.
        max_message_kib: of a client's message, in KiB; pictures that clients send along count. Memory for three such
            messages may be needed for each client.
        tls_cert: a PEM file with the server's certificate and those that lead to its authority's; clients then connect to
            wss://HOST:PORT.
        tls_key: a PEM file with its private key.
    """
    checkpoint_named(checkpoint)
    measured = SamplerChoice.parse(sampler).measured
    check_device(device)
    check_installed(*PACKAGES)
    config = ServerConfig(
        host,
        port,
        os.environ.get(API_KEY),
        clients,
        together,
        waiting,
        1024 * max_message_kib,
        _tls(tls_cert, tls_key),
    )
    listenable(config.host, port)
    with loading("PyTorch and the server"):
        import torch

        from paradp.checkpoints import load_policy
        from paradp.policy.processes import spare_garbage_collection
        from paradp.policy.serving import PolicyServer
    torch.set_num_threads(threads or cores())
    with doing(f"loading {checkpoint} and compiling it" + "; measuring what is fastest here" * measured):
        policy = load_policy(checkpoint, sampler, device, engine=engine, precision=precision)
        server = PolicyServer(policy, config, sampler)
        server.warm_up()
    if policy.planned is not None:
        say(f"{sampler} is {policy.planned.describe()}")
    spare_garbage_collection()
    asyncio.run(_run(server, config))


def check_remote(uri: str, ca: Path | None) -> None:
    """Checks what is said of a server to plan there, as far as that can be known before it is asked.

    Raises:
        ValueError: it is no address, a file is no certificate, or the key cannot be sent.
        ModuleNotFoundError: a package is missing that serving needs.
    """
    check_installed(*PACKAGES)
    check_url(uri)
    client_context(ca)
    if (key := os.environ.get(API_KEY)) is not None:
        check_api_key(key)


def remote(uri: str, ca: Path | None = None) -> "Remote":
    """Plans from a server."""
    from paradp.policy.serving import Remote

    return Remote(uri, os.environ.get(API_KEY), ca=ca)


def _tls(certificate: Path | None, key: Path | None) -> SSLContext | None:
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise ValueError("TLS needs both --tls-cert and --tls-key")
    return server_context(certificate, key)


async def _run(server: "PolicyServer", config: ServerConfig) -> None:
    stop = asyncio.Event()

    def end() -> None:
        if stop.is_set():
            raise SystemExit("ended before everything was answered")
        stop.set()

    for sign in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sign, end)

    def ready(port: int) -> None:
        guarded = "with an API key" if config.api_key else "without an API key"
        here, *elsewhere = urls(config.host, port, config.tls is not None)
        others = "".join(f" (from other machines {url})" for url in elsewhere)
        say(f"serving at {here}{others}, {guarded}; Ctrl-C ends it")

    await server.run(stop, ready)
    console.print("closed")
