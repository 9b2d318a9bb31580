"""Captures of several threads take turns, and none waits for the whole device; on a simulated GPU."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
import torch

from paradp.sampler.rounds.captured import Graphs
from paradp.sampler.rounds.device import capture, wait_until_idle

GPU = torch.device("cuda")


class Graph:
    def replay(self):
        pass


@pytest.fixture
def capturing(monkeypatch):
    """Counts the captures in progress."""
    under_way = []

    @contextmanager
    def graph(captured, **options):
        under_way.append(captured)
        yield
        under_way.remove(captured)

    stream = SimpleNamespace(wait_stream=lambda other: None)
    stubs = {
        "device": lambda device: nullcontext(),
        "Stream": lambda: stream,
        "current_stream": lambda: stream,
        "stream": lambda stream: nullcontext(),
        "CUDAGraph": Graph,
        "graph": graph,
    }
    for name, stub in stubs.items():
        monkeypatch.setattr(torch.cuda, name, stub)
    return under_way


def test_threads_capture_in_turn(capturing):
    seen, first_began, second_began = [], threading.Event(), threading.Event()

    def launch(name):
        seen.append((name, len(capturing)))
        (first_began if name == "first" else second_began).set()
        if name == "first" and capturing:
            assert not second_began.wait(0.2)  # not even its first launch, whose kernels may have to be loaded

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(capture, lambda: launch("first"), GPU)
        first_began.wait()
        other = pool.submit(capture, lambda: launch("second"), GPU)
        assert callable(first.result()) and callable(other.result())
    for name in ("first", "second"):
        assert [count for launched, count in seen if launched == name] == [0, 0, 0, 1]


def test_the_device_is_synchronised_only_without_a_capture_in_progress(capturing, monkeypatch):
    waited, capturing_now = [], threading.Event()
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: waited.append(len(capturing)))

    def launch():
        if capturing:
            capturing_now.set()
            waiting.join(0.2)
            assert not waited

    waiting = threading.Thread(target=lambda: (capturing_now.wait(), wait_until_idle(GPU)))
    waiting.start()
    capture(launch, GPU)
    waiting.join()
    assert waited == [0]


def test_a_capture_that_fails_lets_the_next_one_begin(capturing):
    def fails():
        raise RuntimeError("no kernel")

    with pytest.raises(RuntimeError, match="no kernel"):
        capture(fails, GPU)
    capture(lambda: None, GPU)


def test_python_frees_nothing_during_a_capture(capturing):
    """Freeing captured rounds waits for an event."""
    enabled = []
    capture(lambda: enabled.append((bool(capturing), gc.isenabled())), GPU)
    assert enabled == [(False, True)] * 3 + [(True, False)]
    assert gc.isenabled()


def test_captured_rounds_are_released_after_the_solve_in_progress():
    graphs = Graphs(lambda device: None)
    graphs._kept["a solve's"] = None
    with graphs.lock:
        clearing = threading.Thread(target=graphs.clear)
        clearing.start()
        clearing.join(0.2)
        assert graphs._kept
    clearing.join()
    assert not graphs._kept
