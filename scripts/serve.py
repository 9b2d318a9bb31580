"""`paradp serve`: serves a policy to robots on the network."""

import asyncio
import os
import signal
from pathlib import Path
from ssl import SSLContext
from typing import TYPE_CHECKING

import tyro

from paradp.policy.serving.addresses import check_api_key, check_url, listenable, urls
from paradp.policy.serving.config import ServerConfig
from paradp.policy.serving.tls import client_context, server_context
from paradp.rollouts.machine import cores
from paradp.scripts.call import Count, PolicyName
from paradp.scripts.computing import DEFAULT_COMPUTING, ComputingFlags
from paradp.scripts.console import console, doing, loading, say
from paradp.scripts.extras import check_installed
from paradp.scripts.lists import SamplerText
from paradp.scripts.places import check_device, checkpoint_named
from paradp.scripts.sampler_names import one_sampler
from paradp.scripts.typed_settings import Typed, options_of

if TYPE_CHECKING:
    from paradp.policy.serving import PolicyServer, Remote

API_KEY = "PARADP_API_KEY"
PACKAGES = ("websockets", "msgpack", "prometheus_client", "PIL")


@options_of(ServerConfig)
class Flags(Typed[ServerConfig]):
    """The options of `paradp serve` from the settings of a server."""


DEFAULT_SERVING = Flags()


# Long: its parameters are the command's options, and its docstring is their help.
def serve(
    checkpoint: PolicyName,
    sampler: SamplerText = "auto",
    max_message_kib: Count | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    serving: tyro.conf.OmitArgPrefixes[Flags] = DEFAULT_SERVING,
    computing: tyro.conf.OmitArgPrefixes[ComputingFlags] = DEFAULT_COMPUTING,
) -> None:
    """Serve a policy over websockets, with openpi's protocol.

    If PARADP_API_KEY is set, clients must send it. /healthz returns OK, /metrics is for Prometheus. On Ctrl-C or SIGTERM the
    server answers the accepted requests and ends.

        paradp serve square
        PARADP_API_KEY=secret paradp serve runs/train/checkpoint \\
            --host 0.0.0.0 --port 8000
        paradp serve square --host 0.0.0.0 \\
            --tls-cert server.pem --tls-key server.key

    Args:
        checkpoint: a pretrained policy's name, a checkpoint's directory or hf:owner/name.
        max_message_kib: largest message of a client in KiB, including pictures; by default 2 MiB and what the policy's
            observed images take. Each client may need memory for three such messages.
        tls_cert: a PEM file with the server's certificate and its chain; clients then connect to wss://HOST:PORT.
        tls_key: a PEM file with its private key.
        serving: settings of the server.
        computing: how the policy is computed.
    """
    checkpoint_named(checkpoint)
    measured, how = one_sampler(sampler).measured, computing.checked()
    check_device(how.device)
    check_installed(*PACKAGES)
    most_bytes = None if max_message_kib is None else 1024 * max_message_kib
    config = serving.checked(api_key=os.environ.get(API_KEY), most_bytes=most_bytes, tls=_tls(tls_cert, tls_key))
    listenable(config.host, config.port)
    with loading("PyTorch and the server"):
        import torch

        from paradp.checkpoints import load_policy
        from paradp.policy.processes import spare_garbage_collection
        from paradp.policy.serving import PolicyServer
    torch.set_num_threads(how.threads or cores())
    with doing(f"loading {checkpoint} and compiling it" + "; measuring which sampler is fastest here" * measured):
        policy = load_policy(checkpoint, sampler, how.device, engine=how.engine, precision=how.precision)
        server = PolicyServer(policy, config, sampler)
        server.warm_up()
    if policy.planned is not None:
        say(f"{sampler} is {policy.planned.describe()}")
    spare_garbage_collection()
    asyncio.run(_run(server, config))


def check_remote(uri: str, ca: Path | None) -> None:
    """Checks address, certificate and key of a server, before connecting.

    Raises:
        ValueError: it is not an address, a file is not a certificate, or the key cannot be sent.
        ModuleNotFoundError: a package is missing that serving needs.
    """
    check_installed(*PACKAGES)
    check_url(uri)
    client_context(ca)
    if (key := os.environ.get(API_KEY)) is not None:
        check_api_key(key)


def remote(uri: str, ca: Path | None = None) -> "Remote":
    """Makes a source of plans on a server."""
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
