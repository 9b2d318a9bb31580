"""`paradp serve`: a policy for robots on the network."""

import asyncio
import importlib
import os
import signal
from types import ModuleType
from typing import TYPE_CHECKING

import tyro

from paradp.policy.choices import EngineName, Precision
from paradp.rollouts.machine import cores
from paradp.sampler import SamplerChoice
from paradp.scripts.call import Several
from paradp.scripts.console import console, doing, loading
from paradp.scripts.lists import SamplerText
from paradp.scripts.places import checkpoint_named

if TYPE_CHECKING:
    from paradp.policy.serving import PolicyServer, Remote, ServerConfig

API_KEY = "PARADP_API_KEY"


def serve(
    checkpoint: tyro.conf.Positional[str],
    port: int = 8000,
    host: str = "127.0.0.1",
    sampler: SamplerText = "auto",
    together: int = 8,
    waiting: int = 64,
    clients: int = 64,
    threads: Several | None = None,
    device: str = "cpu",
    engine: EngineName = "auto",
    precision: Precision = "fp32",
) -> None:
    """Serve a policy over websockets, as openpi's clients speak to one.

    With PARADP_API_KEY set, clients must know it. /healthz says OK, /metrics is for Prometheus. Ctrl-C or SIGTERM end it
    after the answers to what it has accepted.

        paradp serve square
        PARADP_API_KEY=secret paradp serve runs/train/checkpoint \\
            --host 0.0.0.0 --port 8000

    Args:
        checkpoint: a pretrained policy's name or a checkpoint's directory.
        port: where to listen; 0 for any that is free.
        host: whom to listen to; by default this machine alone, 0.0.0.0 for everyone.
        together: clients that are planned for in one batch, at most.
        waiting: requests that may wait; further ones are told that the server is busy.
        clients: connections at a time.
        threads: of the network; all cores by default.
        device: where the network computes: cpu or cuda.
        engine: what computes it; auto takes the fastest that there is for the device.
        precision: of its arithmetic.
    """
    checkpoint_named(checkpoint)
    SamplerChoice.parse(sampler)
    with loading("PyTorch and the server"):
        import torch

        from paradp.checkpoints import load_policy
        from paradp.policy.processes import spare_garbage_collection

        serving = _serving()
    config = serving.ServerConfig(host, port, os.environ.get(API_KEY), clients, together, waiting)
    torch.set_num_threads(threads or cores())
    with doing(f"loading {checkpoint}, measuring and compiling what is needed"):
        policy = load_policy(checkpoint, sampler, device, engine=engine, precision=precision)
        server = serving.PolicyServer(policy, config, sampler)
        server.warm_up()
    spare_garbage_collection()
    asyncio.run(_run(server, config))


def remote(uri: str) -> "Remote":
    """Plans from a server."""
    return _serving().Remote(uri, os.environ.get(API_KEY))


def _serving() -> ModuleType:
    try:
        return importlib.import_module("paradp.policy.serving")
    except ModuleNotFoundError as error:
        raise ValueError(f"serving needs {error.name}: pip install 'paradp[serve]'") from error


async def _run(server: "PolicyServer", config: "ServerConfig") -> None:
    stop = asyncio.Event()

    def end() -> None:
        if stop.is_set():
            raise SystemExit("ended before everything was answered")
        stop.set()

    for sign in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sign, end)

    def ready(port: int) -> None:
        guarded = "with an API key" if config.api_key else "without an API key"
        console.print(f"serving at ws://{config.host}:{port}, {guarded}; Ctrl-C ends it", soft_wrap=True)

    await server.run(stop, ready)
    console.print("closed")
