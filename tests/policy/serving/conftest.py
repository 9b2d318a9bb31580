"""A server of a small policy in a separate thread, on a free port of loopback."""

import asyncio
import subprocess
import threading
import venv
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from websockets.sync.client import connect

from paradp.policy import DiffusionPolicy
from paradp.policy.serving import PolicyServer, ServerConfig
from paradp.policy.serving.wire import pack, unpack
from paradp.sampler import Speculative, step_table


@pytest.fixture
def policy(trained) -> DiffusionPolicy:
    solver = Speculative(step_table(trained.spec.schedule), window=8)
    return DiffusionPolicy(trained.spec, trained.network, trained.observation_normalizer, trained.action_normalizer, solver)


@contextmanager
def _running(policy: DiffusionPolicy, **options):
    """A running server: its port, its metrics, and `stop()`."""
    server = PolicyServer(policy, ServerConfig(**{"port": 0} | options), "speculative-ddpm:window=8")
    ready, port = threading.Event(), []
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    def on_ready(where: int) -> None:
        port.append(where)
        ready.set()

    thread = threading.Thread(target=lambda: loop.run_until_complete(server.run(stop, on_ready)))
    thread.start()
    assert ready.wait(120)

    def end() -> None:
        loop.call_soon_threadsafe(stop.set)
        thread.join(120)
        assert not thread.is_alive()

    try:
        yield SimpleNamespace(uri=f"ws://127.0.0.1:{port[0]}", port=port[0], server=server, stop=end)
    finally:
        if thread.is_alive():
            end()
        loop.close()


@pytest.fixture
def running():
    """Starts a server: `with running(policy, most_waiting=1) as server`."""
    return _running


@pytest.fixture
def serving(policy):
    with _running(policy) as server:
        yield server


class Client:
    """A minimal client with the behaviour of openpi's."""

    def __init__(self, uri: str, **options):
        self._stack = ExitStack()
        self.connection = self._stack.enter_context(connect(uri, compression=None, max_size=None, proxy=None, **options))
        self.metadata = unpack(self.connection.recv())

    def ask(self, message: dict | bytes | str) -> dict | str:
        self.connection.send(pack(message) if isinstance(message, dict) else message)
        answer = self.connection.recv(timeout=120)
        return answer if isinstance(answer, str) else unpack(answer)

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def client():
    """Connects clients: `client(uri)`."""
    made = []

    def make(uri: str, **options) -> Client:
        made.append(Client(uri, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="session")
def openpi(tmp_path_factory) -> Callable[..., str]:
    """Runs a program with openpi's published client, `openpi(program, *arguments)`, and returns what it prints.

    It runs in a separate environment, because it needs other versions than paradp.
    """
    folder = tmp_path_factory.mktemp("openpi")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    # openpi-client imports typing_extensions without declaring it.
    packages = ["openpi-client==0.1.2", "typing_extensions"]
    installing = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    installed = subprocess.run(installing, capture_output=True, text=True)
    assert installed.returncode == 0, installed.stderr

    def run(program: str, *arguments: str) -> str:
        told = subprocess.run([python, "-c", program, *arguments], capture_output=True, text=True, timeout=120)
        assert told.returncode == 0, told.stderr
        return told.stdout

    return run


@pytest.fixture
def message() -> dict[str, np.ndarray]:
    """Both observed steps."""
    return {"position": np.array([[0.1, 0.2], [0.3, 0.4]], np.float32), "constant": np.zeros((2, 1), np.float32)}
